"""Templates filled with everything escaped: names come from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...text import clean

Document = dict[str, Any]
_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, **values: Any) -> str:
    """A template with everything escaped: names come from files."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> Any:
    """Names as they look on a terminal: what cannot be seen is spelled out. Markup of our own stays."""
    return clean(value) if type(value) is str else value

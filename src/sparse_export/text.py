"""Words for people: names from files made safe for terminals and pages, numbers with their nouns.

NOTES
-----
Whatever comes from a file and is shown goes through `clean`, `shown` or `markdown`: control, escape and
bidirectional characters must not drive the terminal or reorder a line, and what cannot be seen must not make
two names look like one.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

#: Longest stretch of a file's own text that a message repeats.
_SHOWN = 80


#: Unicode's default-ignorable characters that Python calls printable, and blanks among letters and symbols:
#: fillers, variation selectors, the grapheme joiner, the empty Braille cell, the null notehead.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
#: What Markdown could take for markup.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~&$#]")


def clean(text: str) -> str:
    r"""Text on one line; control, escape, bidirectional and invisible characters are spelled out.

    Examples
    --------
    >>> clean("conv1\x1b[31m\u202ethgiew")
    'conv1\\x1b[31m\\u202ethgiew'
    """
    if text.isascii() and text.isprintable():
        return text
    spelled = (char if _visible(char) else char.encode("unicode_escape").decode() for char in text)
    # A mark at the start would sit on whatever is printed before the text.
    joined = "".join(spelled)
    if joined and unicodedata.category(joined[0]).startswith("M"):
        return joined[0].encode("unicode_escape").decode() + joined[1:]
    return joined


def _visible(char: str) -> bool:
    return char.isprintable() and not _INVISIBLE.match(char)


def one_line(text: str) -> str:
    """A message of several lines, or with indents, as one clean line."""
    return clean(" ".join(text.split()))


def markdown(text: object) -> str:
    r"""Clean text that is no markup in Markdown and cannot leave the cell of a table.

    Examples
    --------
    >>> print(markdown("a|b [c](http://d)"))
    a\|b \[c\](http:\/\/d)
    """
    escaped = _MARKUP.sub(lambda found: "\\" + found[0], one_line(str(text)))
    return escaped.replace("://", ":\\/\\/").replace("www.", "www\\.")


def code(text: object) -> str:
    """Clean text as a code span of Markdown, between more backticks than it holds."""
    line = one_line(str(text))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def shown(name: object) -> str:
    """`name` as text that is safe on a terminal: printable characters, at most 80 of them (but for paths)."""
    text = clean(str(name))
    if isinstance(name, Path) or len(text) <= _SHOWN:
        return text
    return text[: _SHOWN - 1] + "…"


def counted(number: int, noun: str) -> str:
    """`number` and `noun` in the right form: "1 tensor", "2,000 tensors"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str], limit: int = 3) -> str:
    """The first few of `names`, and how many more there are."""
    head = ", ".join(shown(name) for name in names[:limit])
    return head if len(names) <= limit else f"{head} and {len(names) - limit} more"

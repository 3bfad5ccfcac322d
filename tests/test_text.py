"""Names from files cannot drive a terminal, leave a cell, or hide."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_export.text import clean, code, markdown, one_line, shown

UNSEEN = {
    "escape": "\x1b[31m",
    "C1 control": "\x9b31m",
    "newline": "\n",
    "carriage return": "\r",
    "backspace": "\b",
    "right-to-left override": "\u202e",
    "isolate": "\u2066",
    "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "soft hyphen": "\u00ad",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "no-break space": "\u00a0",
    "Hangul filler": "\u3164",
    "half-width filler": "\uffa0",
    "variation selector": "\ufe0f",
    "supplementary selector": "\U000e0101",
    "tag": "\U000e0041",
    "grapheme joiner": "\u034f",
    "empty Braille cell": "\u2800",
    "private use": "\ue000",
    "noncharacter": "\uffff",
    "lone surrogate": "\udc80",
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_cannot_be_seen_is_spelled_out(what: str) -> None:
    for made in (clean(f"a{UNSEEN[what]}b"), shown(f"a{UNSEEN[what]}b"), code(f"a{UNSEEN[what]}b")):
        assert made.isprintable() and UNSEEN[what][0] not in made and "a" in made and "b" in made
    assert UNSEEN[what][0] not in markdown(f"a{UNSEEN[what]}b")


@pytest.mark.parametrize("text", ["features.0.weight", "ünïcode/层", "a b", "α·β", "w|x", "🙂"])
def test_what_can_be_seen_stays(text: str) -> None:
    assert clean(text) == text


def test_mark_at_the_start_does_not_sit_on_what_is_before() -> None:
    assert clean("\u0301a") == "\\u0301a" and clean("a\u0301") == "a\u0301"


def test_messages_of_several_lines_become_one() -> None:
    assert one_line(" first\n   second\t third ") == "first second third"


@given(st.text(max_size=40))
def test_clean_is_one_visible_line_and_settles(text: str) -> None:
    made = clean(text)
    assert made.isprintable() and clean(made) == made
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in made)
    made.encode()


@pytest.mark.parametrize(
    "text",
    ["a|b", "<script>", "[x](javascript:y)", "![x](http://z)", "`a`", "*a*", "~~a~~", "&lt;", "$x$", "\\|"],
)
def test_markdown_is_never_markup(text: str) -> None:
    made = markdown(text)
    assert "://" not in made
    for before, char in zip(" " + made, made, strict=False):
        assert char not in "|<[]`*~&$" or before == "\\"


@pytest.mark.parametrize("text", ["a", "a`b", "``", "`a", "a```b`"])
def test_code_spans_end_where_they_should(text: str) -> None:
    made = code(text)
    fence = made[: len(made) - len(made.lstrip("`"))]
    assert made.endswith(fence) and fence not in made[len(fence) : -len(fence)]

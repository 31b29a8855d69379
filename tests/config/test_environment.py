"""Variables inside text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.config.environment import BadVariable, expand, hide, show

ENVIRON = {"HOST": "example.com", "PORT": "8080", "EMPTY": "", "DOLLAR": "${HOST}"}


@pytest.mark.parametrize(
    ("text", "expanded", "names"),
    [
        ("plain", "plain", ()),
        ("${HOST}:${PORT}", "example.com:8080", ("HOST", "PORT")),
        ("${MISSING:-here}", "here", ("MISSING",)),
        ("${MISSING:-}", "", ("MISSING",)),
        ("${EMPTY:-here}", "here", ("EMPTY",)),
        ("${EMPTY}", "", ("EMPTY",)),
        ("${HOST:-there}", "example.com", ("HOST",)),
        ("${MISSING:-a: b, [c] # d}", "a: b, [c] # d", ("MISSING",)),
        ("$${HOST}", "${HOST}", ()),
        ("$$$${HOST} $$5", "$${HOST} $5", ()),
        ("cost: $5, ^/a$", "cost: $5, ^/a$", ()),
        # What a variable holds is not read again: its content is data.
        ("${DOLLAR}", "${HOST}", ("DOLLAR",)),
    ],
)
def test_expand(text: str, expanded: str, names: tuple[str, ...]) -> None:
    assert expand(text, ENVIRON) == (expanded, names)


@pytest.mark.parametrize("text", ["${MISSING}", "${}", "${1A}", "${HOST:?no}", "${HOST", "${HOST-x}"])
def test_what_cannot_be_replaced_is_named(text: str) -> None:
    with pytest.raises(BadVariable, match=r"MISSING|without a variable"):
        expand(text, ENVIRON)


def test_private_characters_of_the_text_stay_what_they_are() -> None:
    text = "\U000f0041${NAME}\U000f0041 \U000f00c1"
    hidden, shift = hide(text)
    assert show(hidden, shift) == text


@given(st.text() | st.from_regex(r"[a-z{ ]*\$\{[A-Z]+(:-[^}]*)?\}[a-z} ]*", fullmatch=True))
def test_hiding_keeps_length_and_can_be_undone(text: str) -> None:
    hidden, shift = hide(text)
    assert len(hidden) == len(text)
    assert show(hidden, shift) == text
    assert [place for place, char in enumerate(hidden) if char == "\n"] == [
        place for place, char in enumerate(text) if char == "\n"
    ]


def test_yaml_sees_no_braces_of_a_variable() -> None:
    assert not set("{}:,[] #&*!|>%@`") & set(hide("${NAME:-a: b, [c] #&*!|>%@`}")[0])

"""Placeholders: what is one, what it asks for, and what stays plain text."""

from __future__ import annotations

import pytest

from headgate.policy.template import Template, unknown_names

VALUES = {"host": "h", "path": "/p", "params.x": "1", "params.path": "rest", "x": "bare"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{host}{path}", "h/p"),
        ("a{x}b{params.x}c", "a1b1c"),
        ("{params.path}", "rest"),
        ("{{host}}: {host}", "{host}: h"),
        ('{"a": {"b": 1}, "h": "{host}"}', '{"a": {"b": 1}, "h": "h"}'),
        ("{} { host } {1} {", "{} { host } {1} {"),
        ("{missing}", None),
        ("{host}{params.missing}", None),
    ],
)
def test_filling(text: str, filled: str | None) -> None:
    assert Template(text).fill(VALUES.get) == filled


def test_without_built_in_names_all_names_are_parts() -> None:
    template = Template("/{path}/{params.x}", ())
    assert template.names == ("path", "x")
    assert template.fill({"path": "a", "x": "b"}.get) == "/a/b"


def test_what_is_known_before_it_is_filled() -> None:
    assert Template("a{{b}}c").constant == "a{b}c"
    assert Template("a{host}").constant is None
    assert Template("/models/v{x}").head == "/models/v"
    assert Template("/models").head == "/models"
    assert [Template(text).ends_in_name for text in ("/a/{x}", "/a{x}", "/a/{x}/", "/a", "{x}")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_unknown_names_are_listed_with_those_that_are_known() -> None:
    assert unknown_names("{host}{x}{params.x}", ["x"]) is None
    assert unknown_names("{y}", None) is None
    assert unknown_names("/{y}/{z}", ["x"], ()) == "nothing fills {y}, {z}; known here: x"
    assert unknown_names("/{y}", [], ()) == "nothing fills {y}; the match has no named parts"
    assert unknown_names("{y}", ["x"], ["host"]) == "nothing fills {params.y}; known here: host, params.x"

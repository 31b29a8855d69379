"""How problems are written for people and for machines."""

from __future__ import annotations

import json

import pytest

from headgate.config.problems import Origin, Problem, did_you_mean, printable, render, to_json

FIRST = Problem(Origin("a.yaml", 2, 5), "http.bufer", "unknown key", 'did you mean "buffer"?')
SECOND = Problem(Origin("a.yaml", 10, 1), "", "broken", severity="warning", excerpt="    10 | x\n       ^")
LAST = Problem(Origin("--set workers"), "workers", "expected a whole number")


def test_one_line_each_in_the_order_of_the_file() -> None:
    assert render([LAST, SECOND, FIRST]).splitlines() == [
        'a.yaml:2:5: error: http.bufer: unknown key - did you mean "buffer"?',
        "a.yaml:10:1: warning: broken",
        "    10 | x",
        "       ^",
        "--set workers: error: workers: expected a whole number",
    ]


def test_colour_changes_nothing_but_colour() -> None:
    coloured = render([FIRST, SECOND, LAST], colour=True)
    assert "\x1b[1;31merror:" in coloured
    assert "\x1b[1;33mwarning:" in coloured
    for code in ("\x1b[2m", "\x1b[1m", "\x1b[0m", "\x1b[1;31m", "\x1b[1;33m"):
        coloured = coloured.replace(code, "")
    assert coloured == render([FIRST, SECOND, LAST])


def test_machines_get_every_part() -> None:
    assert json.loads(json.dumps(to_json([LAST, FIRST]))) == [
        {
            "file": "a.yaml",
            "line": 2,
            "column": 5,
            "path": "http.bufer",
            "message": "unknown key",
            "hint": 'did you mean "buffer"?',
            "severity": "error",
        },
        {
            "file": "--set workers",
            "line": None,
            "column": None,
            "path": "workers",
            "message": "expected a whole number",
            "hint": None,
            "severity": "error",
        },
    ]


@pytest.mark.parametrize(
    ("word", "known", "says"),
    [
        ("timeot", ["timeout", "retry"], 'did you mean "timeout"?'),
        ("TIMEOUT", ["timeout"], 'did you mean "timeout"?'),
        ("max-body", ["max_body"], 'did you mean "max_body"?'),
        ("chat-canery", ["chat", "chat-canary"], 'did you mean "chat-canary"?'),
        ("zzz", ["b", "a"], "known here: a, b"),
        ("zzz", [], ""),
        ("zzz", [f"service-{number}" for number in range(100)], ""),
    ],
)
def test_did_you_mean(word: str, known: list[str], says: str) -> None:
    assert did_you_mean(word, known) == says


def test_what_a_terminal_would_obey_is_masked() -> None:
    assert printable("a\x1b[2Jb\n") == "a?[2Jb?"
    assert printable("x" * 61) == "x" * 60 + "..."

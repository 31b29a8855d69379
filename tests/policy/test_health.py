"""Active checks: what an answer means, when the next one is due, and how many of them decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.endpoint_record import (
    CHECK_STATUS,
    CHECKED_AT,
    CHECKS_FAILED,
    CHECKS_IN_ROW,
    CHECKS_WELL,
    DISABLED,
    UNHEALTHY,
    WELL_SINCE,
)
from headgate.policy.health import MAX_BODY, HealthCheck, HealthSettings, begin_anew, check_health, forget

BASE = 128


def record() -> list[int]:
    return [0] * 256


def check(**settings: Any) -> HealthCheck:
    return HealthCheck(HealthSettings(**settings))


@pytest.mark.parametrize(
    ("settings", "status", "body", "verdict"),
    [
        ({}, 200, b"", "well"),
        ({}, 204, b"", "well"),
        ({}, 299, b"", "well"),
        ({}, 301, b"", "status"),
        ({}, 199, b"", "status"),
        ({}, 500, b"", "status"),
        ({"status": ["3xx"]}, 302, b"", "well"),
        ({"status": ["3xx"]}, 200, b"", "status"),
        ({"status": ["2xx", 404]}, 404, b"", "well"),
        ({"status": ["2xx", 404]}, 405, b"", "status"),
        ({"body": "ok"}, 200, b'{"status": "ok"}', "well"),
        ({"body": "^ok"}, 200, b'{"status": "ok"}', "body"),
        ({"body": "ok"}, 200, b"", "body"),
        ({"body": "ok"}, 500, b"ok", "status"),
        ({"body": "ok"}, 200, b"\xff\xfe ok", "well"),
        ({"body": "ok"}, 200, b"." * (MAX_BODY - 2) + b"ok", "well"),
        ({"body": "ok"}, 200, b"." * (MAX_BODY - 1) + b"ok", "body"),
    ],
)
def test_what_an_answer_means(settings: dict[str, Any], status: int, body: bytes, verdict: str) -> None:
    assert check(**settings).judge(status, body) == verdict


def test_a_body_is_asked_for_only_where_it_decides() -> None:
    assert check().most_body == 0
    assert check(body="ok").most_body == MAX_BODY


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="RE2"):
        check(body="(ok")


@pytest.mark.parametrize(
    ("interval", "jitter", "chance", "delay"),
    [(30, 0, 0.7, 30), (30, 10, 0.0, 27), (30, 10, 0.5, 30), (30, 10, 1.0, 33), (2, 100, 0.0, 0), (2, 100, 1.0, 4)],
)
def test_when_the_next_check_is_due(interval: float, jitter: float, chance: float, delay: float) -> None:
    assert check(interval=interval, jitter=jitter).delay(chance) == pytest.approx(delay)


def told(unhealthy: int, healthy: int, answers: Iterable[bool]) -> str:
    """Return how the endpoint is after each answer: u in, d out; in upper case where it was said to have changed."""
    cells, made = record(), check(unhealthy_threshold=unhealthy, healthy_threshold=healthy)
    shown = ""
    for now, well in enumerate(answers, 1):
        changed = made.note(cells, BASE, well, 200 if well else 500, now)
        shown += ("D" if changed else "d") if cells[BASE + UNHEALTHY] else ("U" if changed else "u")
        assert cells[BASE + CHECKED_AT] == now
        assert cells[BASE + CHECK_STATUS] == (200 if well else 500)
    return shown


@pytest.mark.parametrize(
    ("unhealthy", "healthy", "answers", "states"),
    [
        (3, 1, "++++", "uuuu"),
        (3, 1, "---", "uuD"),
        (3, 1, "--+--+", "uuuuuu"),
        (3, 1, "---+", "uuDU"),
        (3, 1, "-----+---", "uuDddUuuD"),
        (1, 1, "-+-+", "DUDU"),
        (1, 3, "-++-+++", "DdddddU"),
        (2, 2, "--+-+-++--", "uDdddddUuD"),
    ],
)
def test_how_many_answers_decide(unhealthy: int, healthy: int, answers: str, states: str) -> None:
    assert told(unhealthy, healthy, (each == "+" for each in answers)) == states


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=40))
def test_it_is_out_exactly_by_the_last_long_enough_row(unhealthy: int, healthy: int, answers: list[bool]) -> None:
    out, row = False, 0
    shown = told(unhealthy, healthy, answers)
    for well, state in zip(answers, shown, strict=True):
        row = max(row, 0) + 1 if well else min(row, 0) - 1
        was, out = out, row <= -unhealthy or (out and row < healthy)
        assert (state.lower() == "d", state.isupper()) == (out, out != was)


def test_it_comes_back_with_the_time_of_it_and_hands_off_what_a_hand_did() -> None:
    cells, made = record(), check(unhealthy_threshold=1)
    cells[BASE + DISABLED] = 1
    assert made.note(cells, BASE, False, 0, 10)
    assert cells[BASE + WELL_SINCE] == 0
    assert made.note(cells, BASE, True, 200, 20)
    assert (cells[BASE + WELL_SINCE], cells[BASE + DISABLED]) == (20, 1)
    assert made.note(cells, BASE, True, 200, 30) is False
    assert cells[BASE + WELL_SINCE] == 20
    # No other record was touched.
    assert not any(cells[:BASE])


def test_what_was_said_is_taken_back_with_the_checks() -> None:
    cells, made = record(), check(unhealthy_threshold=2)
    made.note(cells, BASE, True, 200, 5)
    made.note(cells, BASE, False, 500, 10)
    begin_anew(cells, BASE)
    assert made.note(cells, BASE, False, 500, 20) is False, "the row began anew"
    assert made.note(cells, BASE, False, 500, 30) is True
    counted = CHECKS_WELL, CHECKS_FAILED
    assert [cells[BASE + cell] for cell in counted] == [1, 3]
    assert forget(cells, BASE, 40) is True
    assert not any(cells[BASE + cell] for cell in (UNHEALTHY, CHECKS_IN_ROW, CHECKED_AT, CHECK_STATUS, *counted))
    assert cells[BASE + WELL_SINCE] == 40
    assert forget(cells, BASE, 50) is False
    assert cells[BASE + WELL_SINCE] == 40


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({}, []),
        ({"path": "/up?deep=1", "host": "api.internal:8443", "body": "ok|fine"}, []),
        ({"path": "up"}, [("path",)]),
        ({"path": "/up and"}, [("path",)]),
        ({"path": "/up\r\nX: y"}, [("path",)]),
        ({"path": "/ü"}, [("path",)]),
        ({"path": "/up#x"}, [("path",)]),
        ({"host": "a b"}, [("host",)]),
        ({"host": "a\r\nX: y"}, [("host",)]),
        ({"host": "http://a"}, [("host",)]),
        ({"host": "a:0"}, [("host",)]),
        ({"host": "ä"}, [("host",)]),
        ({"status": [], "body": "("}, [("status",), ("body",)]),
    ],
)
def test_what_is_objected_to(settings: dict[str, Any], at: list[tuple[str, ...]]) -> None:
    assert [objection.at for objection in check_health(HealthSettings(**settings))] == at

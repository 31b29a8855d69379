"""A service's breaker as requests pass it: tickets and refusals, what is counted and said, and what a reload keeps."""

from __future__ import annotations

import os
from typing import Any

import pytest

from headgate.core.failure import Failure
from headgate.policy.breaker_settings import BreakerSettings
from headgate.proxy.breaking import ServiceBreaker
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion, SlotWriter, read
from headgate.telemetry.metrics import Metrics

NOW = 1000.0


class Worker:
    """One worker's side of the breaker of `api`, over a board that others have too."""

    def __init__(self, board: Board, **settings: Any) -> None:
        self.board = Board(os.dup(board._file))
        self.region = SlotRegion.create(1 << 16, 1 << 12)
        self.metrics = Metrics(SlotWriter(self.region))
        self.said: list[tuple[str, str]] = []
        self.breaker = self.make(**settings)

    def make(self, **settings: Any) -> ServiceBreaker:
        made = BreakerSettings(**{"threshold": 2, "jitter": 0, "timeout": 30, **settings})
        return ServiceBreaker("api", made, self.board, self.metrics, self.say)

    def say(self, level: str, message: str, **_: object) -> None:
        self.said.append((level, message))

    def counted(self, family: str) -> dict[tuple[str, ...], int]:
        return {
            sample.name.labels: sample.values[0]
            for sample in read([self.region])
            if sample.name.family == f"headgate_breaker_{family}_total" and sample.name.labels != ("",)
        }

    def fail(self, reason: str = "connect_refused", now: float = NOW) -> None:
        self.breaker.failed(self.breaker.admit(now), reason, now)

    def answer(self, status: int = 200, now: float = NOW) -> None:
        self.breaker.answered(self.breaker.admit(now), status, now)

    def refusal(self, now: float = NOW) -> Failure:
        with pytest.raises(Failure) as refused:
            self.breaker.admit(now)
        return refused.value


def test_two_workers_are_one_breaker_and_each_change_is_told_once() -> None:
    board = Board.create(slots=2)
    one, two = Worker(board), Worker(board)
    one.fail()
    two.answer(503)
    failure = one.refusal(NOW + 10)
    assert (failure.reason, failure.detail, failure.retry_after) == ("breaker_open", "breaker api", 20.0)
    assert failure.side == "gateway"
    two.refusal(NOW + 10)
    two.refusal(NOW + 29)
    ticket = one.breaker.admit(NOW + 30)
    assert two.refusal(NOW + 30).retry_after == 1.0
    one.breaker.answered(ticket, 200, NOW + 31)
    two.answer()
    assert one.said == [
        ("info", "breaker api is half-open: trials go through"),
        ("info", "breaker api is closed again"),
    ]
    assert two.said == [("warning", "breaker api is open for about 30 s")]
    assert two.counted("transitions") == {("api", "open"): 1}
    assert one.counted("transitions") == {("api", "half_open"): 1, ("api", "closed"): 1}
    assert (one.counted("refused"), two.counted("refused")) == ({("api",): 1}, {("api",): 3})


def test_calls_are_counted_as_they_were_judged_and_none_that_was_the_clients() -> None:
    worker = Worker(Board.create(slots=1), threshold=3)
    worker.answer(200)
    worker.answer(404)
    worker.fail("upstream_reset")
    worker.answer(200)
    worker.answer(503)
    worker.fail("client_closed")
    assert worker.counted("calls") == {("api", "well"): 3, ("api", "failed"): 2}


@pytest.mark.parametrize("status", [200, 204, 302, 404, 429, 499])
def test_answers_that_do_not_count_interrupt_a_row(status: int) -> None:
    worker = Worker(Board.create())
    worker.fail()
    worker.answer(status)
    worker.fail()
    worker.answer()
    worker.answer(500)
    worker.answer(500)
    worker.refusal()


@pytest.mark.parametrize("reason", ["client_closed", "request_timeout", "no_endpoint", "overloaded", "internal"])
def test_what_client_or_gateway_did_is_no_failure_and_no_success(reason: str) -> None:
    worker = Worker(Board.create())
    worker.fail()
    for _ in range(5):
        worker.fail(reason)
    worker.fail()
    worker.refusal()


def test_a_client_that_leaves_gives_its_trial_back() -> None:
    worker = Worker(Board.create())
    worker.fail()
    worker.fail()
    trial = worker.breaker.admit(NOW + 30)
    worker.refusal(NOW + 30)
    worker.breaker.failed(trial, "client_closed", NOW + 31)
    assert worker.breaker.admit(NOW + 31) > 0


def test_equal_settings_survive_a_reload_and_others_begin_afresh() -> None:
    worker = Worker(Board.create())
    worker.fail()
    worker.fail()
    worker.breaker = worker.make()
    worker.refusal()
    worker.breaker = worker.make(threshold=3)
    worker.answer()
    worker.breaker = worker.make()
    worker.refusal()


def test_a_full_board_refuses_the_plan_with_a_sentence() -> None:
    board = Board.create(records=1)
    board.claim("endpoint api a")
    with pytest.raises(ValueError, match=r"^no room for the breaker api .*: 1 breakers and endpoints are the most"):
        Worker(board)

"""Breakers as an operator sees and steers them, beside a worker whose requests pass them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from headgate.config.admin_settings import BreakerAction
from headgate.control.breakers import Breakers, Calls
from headgate.control.log import Log
from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.proxy.breaking import ServiceBreaker
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from tests.control.driver import until
from tests.proxy.stage import resolved, to


class Scene:
    """Control and one worker with the breaker of `api`, over one board."""

    def __init__(self, **settings: Any) -> None:
        self.board = Board.create()
        self.control = Breakers(self.board, Log("control"))
        self.follow(**settings)

    def follow(self, *urls: str, **settings: Any) -> None:
        """Bring a configuration into force: the breaker with these settings, of a service at these places."""
        service = {"circuit_breaker": {"threshold": 2, "jitter": 0, **settings}}
        config = resolved(to(*(urls or ("http://a",)), service=service))
        self.control.follow(config)
        wanted = config.services[0].breaker
        assert wanted is not None
        metrics = Metrics(SlotWriter(SlotRegion.create(1 << 16, 1 << 12)))
        self.worker = ServiceBreaker("api", wanted, Board(os.dup(self.board._file)), metrics, lambda *_, **__: None)

    def calls(self, *statuses: int) -> None:
        for status in statuses:
            self.worker.answered(self.worker.admit(monotonic()), status, monotonic())

    def is_refused(self) -> bool:
        try:
            self.calls(200)
        except Failure:
            return True
        return False

    def record(self) -> dict[str, Any]:
        return self.control.describe()["api"]

    def gauge(self) -> int:
        (sample,) = self.control.samples()
        assert sample.name[:3] == ("headgate_breaker_state", "gauge", ("api",))
        return sample.values[0]


def test_one_that_was_never_used_is_shown() -> None:
    scene = Scene(timeout=30, success_threshold=2, trials=3)
    assert scene.record() == {
        "state": "closed",
        "forced": None,
        "failure_count": 0,
        "threshold": 2,
        "success_count": 0,
        "success_threshold": 2,
        "timeout": 30.0,
        "last_failure_time": None,
        "last_success_time": None,
        "opened_at": None,
        "open_until": None,
        "trials_in_flight": 0,
        "trials": 3,
    }
    assert scene.gauge() == 0


def test_what_requests_did_is_seen_in_the_time_of_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    # The wall clock is a year ahead of the one that workers go by, to the microsecond.
    ahead = 365 * 86400.0
    monkeypatch.setattr("headgate.core.clock.wall", lambda: monotonic() + ahead)
    scene = Scene(timeout=30)
    scene.calls(500)
    assert (scene.record()["state"], scene.record()["failure_count"]) == ("closed", 1)
    before = monotonic() + ahead
    scene.calls(500)
    after = monotonic() + ahead
    record = scene.record()
    assert (record["state"], record["failure_count"], scene.gauge()) == ("open", 2, 1)
    assert before - 0.001 <= record["opened_at"] == record["last_failure_time"] <= after + 0.001
    assert record["open_until"] == pytest.approx(record["opened_at"] + 30, abs=0.01)


def test_the_end_of_the_time_open_shows_as_half_open() -> None:
    scene = Scene(timeout=0.001, success_threshold=5)
    scene.calls(500, 500)
    until(lambda: scene.record()["state"] == "half_open", "the time open is over")
    assert scene.gauge() == 2
    ticket = scene.worker.admit(monotonic())
    assert scene.record()["trials_in_flight"] == 1
    scene.worker.answered(ticket, 200, monotonic())
    assert scene.record()["success_count"] == 1


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ({"window_size": 10}, {"threshold": 2, "window_size": 10}),
        (
            {"error_rate": 50, "window": 20, "minimum_requests": 7},
            {"threshold": None, "error_rate": 50.0, "window": 20.0, "minimum_requests": 7},
        ),
    ],
)
def test_what_a_mode_counts_is_shown(mode: dict[str, Any], shown: dict[str, Any]) -> None:
    record = Scene(**mode).record()
    assert {name: record.get(name) for name in ("window_size", "error_rate", "window", "minimum_requests")} == {
        "window_size": None,
        "error_rate": None,
        "window": None,
        "minimum_requests": None,
        **{name: value for name, value in shown.items() if name != "threshold"},
    }
    assert record["threshold"] == shown["threshold"]


@pytest.mark.parametrize(
    ("action", "state", "forced", "refused"),
    [("reset", "closed", None, False), ("open", "open", "open", True), ("close", "closed", "closed", False)],
)
def test_a_hands_work_holds_for_workers_at_once(
    action: BreakerAction, state: str, forced: str | None, refused: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    scene = Scene()
    scene.calls(500, 500)
    assert scene.is_refused()
    record = scene.control.steer("api", action)
    assert record is not None
    assert (record["state"], record["forced"]) == (state, forced)
    assert scene.is_refused() is refused
    assert "by hand" in capfd.readouterr().err


def test_a_hands_work_survives_reloads_that_leave_the_breaker_alone() -> None:
    scene = Scene()
    assert scene.control.describe()["api"]["state"] == "closed"
    scene.control.steer("api", "open")
    assert scene.control.describe()["api"]["state"] == "open"
    scene.follow()
    assert scene.is_refused()
    scene.follow(threshold=9)
    assert not scene.is_refused()


def test_only_breakers_of_the_plan_in_force_are_there() -> None:
    scene = Scene()
    assert scene.control.steer("shop", "open") is None
    scene.control.follow(resolved(to("http://a")))
    assert scene.control.describe() == {}
    assert scene.control.samples() == []
    assert scene.control.steer("api", "open") is None


def test_a_full_board_is_said_and_costs_only_the_view(capfd: pytest.CaptureFixture[str]) -> None:
    board = Board.create(records=1)
    board.claim("other")
    control = Breakers(board, Log("control"))
    control.follow(resolved(to("http://a", service={"circuit_breaker": {}})))
    assert "breaker api is not shown: no room for the breaker api" in capfd.readouterr().err
    assert control.describe() == {}


def test_a_reset_forgets_the_calls_that_were_counted() -> None:
    scene = Scene()
    assert scene.control.calls("api")["total_calls"] == 0
    scene.control.note_calls({"api": Calls(well=6, failed=2), "other": Calls(failed=1)})
    counted = {"success_count": 6, "total_requests": 8, "total_calls": 8, "failure_rate": 25.0}
    assert scene.control.calls("api") == counted
    for action in ("open", "close"):
        scene.control.steer("api", action)
        assert scene.control.calls("api") == counted
    scene.control.steer("api", "reset")
    none = {"success_count": 0, "total_requests": 0, "total_calls": 0, "failure_rate": 0.0}
    assert scene.control.calls("api") == none
    scene.control.note_calls({"api": Calls(well=6, failed=3), "other": Calls(failed=1)})
    assert scene.control.calls("api") == {**none, "total_requests": 1, "total_calls": 1, "failure_rate": 100.0}
    assert scene.control.calls("other")["total_calls"] == 1


def test_the_last_success_is_the_moment_at_which_more_of_them_were_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there at the first look may be of any time before it: a successor of control knows none."""
    moments = iter([200.0, 300.0])
    scene = Scene()
    scene.control.note_calls({"api": Calls(well=4)})
    assert scene.record()["last_success_time"] is None
    monkeypatch.setattr("headgate.control.breakers.wall", lambda: next(moments))
    scene.control.note_calls({"api": Calls(well=5)})
    scene.control.note_calls({"api": Calls(well=5, failed=1)})
    monkeypatch.undo()
    assert scene.record()["last_success_time"] == 200.0


@pytest.mark.parametrize(
    ("urls", "afresh"),
    [
        (["http://b"], True),
        (["http://b", "http://c:1"], True),
        (["http://a", "http://b"], False),
        (["http://a/v2"], False),
    ],
)
def test_a_service_that_moved_away_begins_afresh(urls: list[str], afresh: bool) -> None:
    scene = Scene()
    scene.calls(500, 500)
    assert scene.is_refused()
    scene.follow(*urls)
    assert scene.is_refused() is not afresh
    assert (scene.record()["state"], scene.record()["last_failure_time"] is None) == (
        ("closed", True) if afresh else ("open", False)
    )


def test_what_was_begun_at_the_old_place_says_nothing_of_the_new_one() -> None:
    scene = Scene()
    late = [scene.worker.admit(monotonic()) for _ in range(2)]
    scene.follow("http://b")
    for ticket in late:
        scene.worker.answered(ticket, 500, monotonic())
    assert scene.record()["failure_count"] == 0


def test_what_a_hand_has_done_stays_where_a_service_moves() -> None:
    scene = Scene()
    scene.control.steer("api", "open")
    scene.follow("http://b")
    assert scene.is_refused()


def test_a_control_that_has_just_begun_knows_of_no_move() -> None:
    scene = Scene()
    scene.calls(500, 500)
    scene.control = Breakers(scene.board, Log("control"))
    scene.follow("http://b")
    assert scene.is_refused()

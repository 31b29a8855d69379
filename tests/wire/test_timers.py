"""The timer wheel against a model that knows nothing of buckets, and its driver with a loop that is
stepped."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.timers import NEVER, TICK, TimerWheel, WheelDriver


class Connection:
    __slots__ = ("__weakref__", "action", "deadline", "fired", "wheel_at")

    def __init__(self, action: Callable[[float], None] | None = None) -> None:
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.fired: list[float] = []
        self.action = action

    def on_deadline(self, now: float) -> None:
        self.fired.append(now)
        if self.action is not None:
            self.action(now)


def test_fires_once_after_the_deadline_and_not_before() -> None:
    wheel, conn = TimerWheel(), Connection()
    wheel.arm(conn, 1.0)
    wheel.advance(0.99)
    assert conn.fired == []
    wheel.advance(1.0 + TICK)
    wheel.advance(9.0)
    assert conn.fired == [1.0 + TICK]
    assert len(wheel) == 0


def test_moving_later_is_an_attribute_write() -> None:
    wheel, conn = TimerWheel(), Connection()
    wheel.arm(conn, 1.0)
    filed_at = conn.wheel_at
    conn.deadline = 3.0
    assert conn.wheel_at == filed_at
    wheel.advance(2.0)
    assert conn.fired == []
    wheel.advance(3.1)
    assert conn.fired == [3.1]


def test_moving_earlier_files_anew_and_only_once() -> None:
    wheel, conn = TimerWheel(), Connection()
    wheel.arm(conn, 5.0)
    wheel.arm(conn, 1.0)
    assert len(wheel) == 1
    wheel.advance(1.1)
    wheel.advance(9.0)
    assert conn.fired == [1.1]


def test_lazy_cancel_lets_go_when_its_bucket_comes() -> None:
    wheel, conn = TimerWheel(horizon=2.0), Connection()
    wheel.arm(conn, 1_000.0)
    conn.deadline = NEVER
    assert len(wheel) == 1
    wheel.advance(2.1)
    assert len(wheel) == 0
    assert conn.wheel_at == NEVER
    assert conn.fired == []


def test_cancel_drops_the_reference_at_once() -> None:
    wheel, conn = TimerWheel(), Connection()
    wheel.arm(conn, 60.0)
    wheel.cancel(conn)
    gone = weakref.ref(conn)
    del conn
    gc.collect()
    assert gone() is None
    assert repr(wheel) == "<TimerWheel filed=0 buckets=1>"


def test_deadline_beyond_the_horizon_waits_its_time() -> None:
    wheel, conn = TimerWheel(horizon=1.0), Connection()
    wheel.arm(conn, 75.0)
    for turn in range(1, 75 * 20):
        wheel.advance(turn * TICK)
    assert conn.fired == []
    wheel.advance(75.0 + TICK)
    assert conn.fired == [75.0 + TICK]


def test_long_sleep_with_objects_filed_loses_none() -> None:
    wheel = TimerWheel(horizon=1.0)
    soon, late = Connection(), Connection()
    wheel.arm(soon, 0.5)
    wheel.arm(late, 1_000_002.0)
    wheel.advance(1_000_000.0)
    assert soon.fired == [1_000_000.0]
    for turn in range(1, 60):
        wheel.advance(1_000_000.0 + turn * TICK)
    assert len(late.fired) == 1


def test_clock_that_goes_back_fires_nothing() -> None:
    wheel, conn = TimerWheel(), Connection()
    wheel.advance(100.0)
    wheel.arm(conn, 101.0)
    wheel.advance(50.0)
    assert conn.fired == []
    wheel.advance(101.1)
    assert conn.fired == [101.1]


def test_handler_may_cancel_and_rearm_objects_of_the_firing_bucket() -> None:
    wheel = TimerWheel()
    crowd: list[Connection] = []

    def disturb(now: float) -> None:
        wheel.arm(crowd[0], now + 1.0)
        wheel.arm(crowd[1], now - 1.0)
        wheel.cancel(crowd[2])

    crowd += [Connection() for _ in range(3)] + [Connection(disturb) for _ in range(20)]
    for conn in crowd:
        wheel.arm(conn, 1.0)
    wheel.advance(1.1)
    wheel.advance(1.2)
    assert all(len(conn.fired) == 1 for conn in crowd[3:])
    # Which of them came before the disturbers is the set's choice; afterwards the books must be right all
    # the same.
    wheel.advance(3.0)
    assert crowd[0].fired[-1] == 3.0
    assert crowd[1].fired
    assert len(crowd[2].fired) <= 1
    assert len(wheel) == 0
    assert all(conn.wheel_at == NEVER for conn in crowd)


def test_a_failing_handler_costs_no_other_deadline() -> None:
    def fail(_: float) -> None:
        raise ValueError("broken")

    wheel = TimerWheel()
    crowd = [Connection(fail), *(Connection() for _ in range(20)), Connection(fail)]
    for conn in crowd:
        wheel.arm(conn, 1.0)
    with pytest.raises(ExceptionGroup) as caught:
        wheel.advance(1.1)
    assert len(caught.value.exceptions) == 2
    assert all(conn.fired == [1.1] for conn in crowd)
    assert len(wheel) == 0


def test_many_objects_take_few_buckets() -> None:
    # One second of deadlines is 20 ticks, and its first moment falls on the end of the tick before.
    wheel = TimerWheel()
    crowd = [Connection() for _ in range(100_000)]
    for at, conn in enumerate(crowd):
        wheel.arm(conn, 5.0 + at / 100_000)
    assert repr(wheel) == "<TimerWheel filed=100000 buckets=21>"
    wheel.advance(6.1)
    assert sum(len(conn.fired) for conn in crowd) == 100_000


class Model:
    """Deadlines in a dict: what the wheel promises, without how."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: dict[int, float] = {}
        self.armed_at: dict[int, float] = {}


_STEPS = st.lists(
    st.tuples(st.just("arm"), st.integers(0, 5), st.floats(-1, 30))
    | st.tuples(st.just("extend"), st.integers(0, 5), st.floats(0, 30))
    | st.tuples(st.sampled_from(["cancel", "forget"]), st.integers(0, 5), st.just(0.0))
    | st.tuples(st.just("advance"), st.just(0), st.floats(0, 1) | st.floats(0, 60)),
    max_size=60,
)


@given(steps=_STEPS, start=st.sampled_from([0.0, 3.3, 1_234_567.89]), horizon=st.sampled_from([0.2, 1.0, 10.0]))
@settings(max_examples=200, deadline=None)
def test_against_the_model(steps: list[tuple[str, int, float]], start: float, horizon: float) -> None:
    wheel, crowd = TimerWheel(horizon=horizon), [Connection() for _ in range(6)]
    wheel.advance(start)
    model = Model()
    model.now = start
    for word, which, amount in steps:
        conn = crowd[which]
        if word == "arm":
            model.due[which] = model.now + amount
            model.armed_at[which] = model.now
            wheel.arm(conn, model.now + amount)
        elif word == "extend" and which in model.due:
            model.due[which] += amount
            conn.deadline += amount
        elif word == "cancel":
            model.due.pop(which, None)
            wheel.cancel(conn)
        elif word == "forget":
            model.due.pop(which, None)
            conn.deadline = NEVER
        elif word == "advance":
            model.now += amount
            advance_both(wheel, crowd, model)
    model.now += 100.0
    advance_both(wheel, crowd, model)
    assert len(wheel) == len(model.due) == 0


def advance_both(wheel: TimerWheel, crowd: list[Connection], model: Model) -> None:
    before = [len(conn.fired) for conn in crowd]
    wheel.advance(model.now)
    for which, conn in enumerate(crowd):
        fired = len(conn.fired) - before[which]
        due = model.due.get(which)
        assert fired <= 1
        if fired:
            assert due is not None
            assert due <= model.now, "fired early"
            del model.due[which]
        elif due is not None:
            # An arming in the past counts from the moment it was made.
            assert max(due, model.armed_at[which]) > model.now - TICK - 1e-6, "fired late"
    assert len(wheel) >= len(model.due)


class Loop:
    """An event loop of which the driver only sees `call_later`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], None], asyncio.TimerHandle]] = []
        self.delays: list[float] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.delays.append(delay)
        loop = self

        class Handle:
            def cancel(self) -> None:
                loop.waiting.clear()

        handle = cast(asyncio.TimerHandle, Handle())
        self.waiting.append((callback, handle))
        return handle

    def run_one(self) -> None:
        self.waiting.pop(0)[0]()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def driven() -> tuple[TimerWheel, Loop, Clock, WheelDriver]:
    wheel, loop, clock = TimerWheel(), Loop(), Clock()
    return wheel, loop, clock, WheelDriver(wheel, cast(asyncio.AbstractEventLoop, loop), clock)


def test_driver_sleeps_while_nothing_is_filed() -> None:
    wheel, loop, clock, _driver = driven()
    assert loop.waiting == []
    conn = Connection()
    wheel.arm(conn, clock.now + 0.1)
    while loop.waiting:
        clock.now += TICK
        loop.run_one()
    assert len(conn.fired) == 1
    assert 1_000.1 <= conn.fired[0] <= 1_000.1 + 2 * TICK + 1e-6
    clock.now += 3_600.0
    wheel.arm(conn, clock.now + 0.1)
    assert len(loop.waiting) == 1
    wheel.arm(Connection(), clock.now + 0.1)
    assert len(loop.waiting) == 1


def test_driver_turns_on_after_a_failing_handler() -> None:
    def fail(_: float) -> None:
        raise ValueError("broken")

    wheel, loop, clock, _driver = driven()
    good = Connection()
    wheel.arm(Connection(fail), clock.now)
    wheel.arm(good, clock.now + 1.0)
    clock.now += 1.5 * TICK
    with pytest.raises(ExceptionGroup):
        loop.run_one()
    while loop.waiting:
        clock.now += TICK
        loop.run_one()
    assert good.fired == [clock.now]


def test_driver_keeps_one_timer_when_a_handler_arms_again() -> None:
    wheel, loop, clock, _driver = driven()
    conn = Connection()
    conn.action = lambda now: wheel.arm(conn, now + 1.0)
    wheel.arm(conn, clock.now)
    clock.now += 1.5 * TICK
    loop.run_one()
    assert conn.fired == [clock.now]
    assert len(loop.waiting) == 1


@pytest.mark.parametrize(("slept", "more"), [(0.4, 0.4), (0.9, 0.9), (3600.0, 1.0)])
def test_driver_that_was_held_up_waits_once_more_before_anything_fires(slept: float, more: float) -> None:
    wheel, loop, clock, _driver = driven()
    answered, silent = Connection(), Connection()
    for conn in (answered, silent):
        wheel.arm(conn, clock.now + 0.1)
    clock.now += TICK + slept
    loop.run_one()
    assert answered.fired == silent.fired == []
    # Meanwhile the sockets are read, and one of the two had its answer there.
    assert len(loop.waiting) == 1
    assert loop.delays[-1] == pytest.approx(more)
    clock.now += more
    answered.deadline = clock.now + 1.0
    loop.run_one()
    assert (answered.fired, silent.fired) == ([], [clock.now])
    # And then by the tick as before.
    assert loop.delays[-1] == TICK


def test_driver_that_is_held_up_all_the_time_still_fires() -> None:
    wheel, loop, clock, _driver = driven()
    silent = Connection()
    wheel.arm(silent, clock.now + 0.1)
    for _ in range(2):
        clock.now += 10.0
        loop.run_one()
    assert silent.fired == [clock.now]


def test_closed_driver_lets_the_loop_go() -> None:
    wheel, loop, clock, driver = driven()
    wheel.arm(Connection(), clock.now + 0.1)
    driver.close()
    assert loop.waiting == []
    assert wheel.wake is None

"""For every bucket of a histogram a traced request that fell into it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.control.telemetry.exemplars import MOST_SERIES, Exemplars
from headgate.telemetry.families import FAMILIES
from headgate.telemetry.naming import Exemplar
from tests.control.telemetry.records import STARTED, attempt, record

REQUESTS = "headgate_request_duration_seconds"
UPSTREAM = "headgate_upstream_duration_seconds"


def test_a_request_and_its_tries_stand_for_their_series() -> None:
    exemplars = Exemplars()
    exemplars.take(record(1, method="BREW", attempts=[attempt(), attempt(span_id="b" * 16, error="dns", head=None)]))
    [own] = exemplars.of(REQUESTS)
    assert own == Exemplar(("orders", "api", "other", "200"), 0.25, STARTED + 1.25, f"{1:032x}", f"{1:016x}")
    assert len(own.labels) == len(FAMILIES[REQUESTS].labels)
    tried = next(iter(exemplars.of(UPSTREAM)))
    assert (tried.labels, round(tried.value, 6), tried.span_id) == (("api", "other", "200"), 0.19, "a" * 16)
    assert len(tried.labels) == len(FAMILIES[UPSTREAM].labels)


def test_one_that_is_not_traced_stands_for_nothing() -> None:
    exemplars = Exemplars()
    exemplars.take(record(1, traced=False))
    assert [*exemplars.of(REQUESTS), *exemplars.of(UPSTREAM)] == []


def test_there_are_so_many_series() -> None:
    exemplars = Exemplars()
    for number in range(MOST_SERIES + 50):
        exemplars.take(record(1, route=f"route-{number}", attempts=[]))
    found = {each.labels[0] for each in exemplars.of(REQUESTS)}
    assert found == {f"route-{number}" for number in range(50, MOST_SERIES + 50)}


@given(st.lists(st.floats(0, 10_000), min_size=1, max_size=80))
def test_every_bucket_that_was_met_has_one(durations: list[float]) -> None:
    exemplars = Exemplars()
    for number, duration in enumerate(durations, 1):
        exemplars.take(record(number, duration=duration, attempts=[]))
    found = list(exemplars.of(REQUESTS))
    assert len(found) <= 200
    # Buckets of powers of two and wider are what every histogram has at least.
    for power in range(-10, 12):
        within = [each for each in durations if 2.0**power <= each < 2.0 ** (power + 1)]
        assert bool(within) == any(2.0**power <= each.value < 2.0 ** (power + 1) for each in found)

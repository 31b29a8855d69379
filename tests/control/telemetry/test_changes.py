"""What was counted since the last look is exactly what was counted."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headgate.control.telemetry.changes import Changes, lanes
from headgate.telemetry.cells import SeriesName, SlotRegion, SlotWriter

BOUNDS = (10, 100, 1000)


def group_of(name: SeriesName) -> str | None:
    """Counters of a label's first letter, and all durations, are of one group; gauges of none."""
    if name.kind == "gauge":
        return None
    return name.labels[0][0] if name.kind == "counter" else "durations"


def test_the_first_look_only_remembers() -> None:
    writer = SlotWriter(SlotRegion.create(4096, 64))
    writer.cells[writer.counter("n", ("a1",))] += 5
    changes = Changes(writer.region, group_of)
    assert changes.take() == {}
    assert changes.take() == {}


def test_a_series_that_comes_later_began_at_zero() -> None:
    writer = SlotWriter(SlotRegion.create(4096, 64))
    changes = Changes(writer.region, group_of)
    assert changes.take() == {}
    writer.cells[writer.counter("n", ("a1",))] += 5
    writer.cells[writer.counter("n", ("a2",))] += 2
    writer.cells[writer.gauge("g")] += 9
    assert changes.take() == {"a": 7}
    assert changes.take() == {}


def test_a_region_may_be_taken_over_by_a_successor() -> None:
    region = SlotRegion.create(4096, 64)
    first = SlotWriter(region)
    changes = Changes(region, group_of)
    changes.take()
    first.cells[first.counter("n", ("a1",))] += 5
    second = SlotWriter(region)
    second.begin(12, 1.0)
    second.cells[second.counter("n", ("a1",))] += 1
    assert changes.take() == {"a": 6}


def test_a_series_in_two_parts_of_the_memory_is_seen_by_either() -> None:
    writer = SlotWriter(SlotRegion.create(65536, 4096))
    changes = Changes(writer.region, group_of)
    bases = [writer.histogram("h", (str(number),), BOUNDS) for number in range(100)]
    changes.take()
    for base in bases:
        # An observation of nothing leaves the sum as it is.
        writer.cells[base + 4] += 1
        assert lanes(changes.take()["durations"], 5) == [0, 0, 0, 0, 1]


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(0, 5000)) | st.just("look"), max_size=150
)


@given(STEPS)
def test_sums_are_those_of_every_count(steps: list[tuple[str, int, int] | str]) -> None:
    writer = SlotWriter(SlotRegion.create(65536, 4096))
    changes = Changes(writer.region, group_of)
    changes.take()
    counted: Counter[str] = Counter()
    durations = [0] * (len(BOUNDS) + 2)
    for step in [*steps, "look"]:
        if isinstance(step, str):
            taken = changes.take()
            assert lanes(taken.pop("durations", 0), len(durations)) == durations
            assert taken == +counted
            counted.clear()
            durations = [0] * len(durations)
            continue
        letter, number, value = step
        writer.cells[writer.counter("n", (f"{letter}{number}",))] += value
        counted[letter] += value
        base = writer.histogram("h", (str(number),), BOUNDS)
        bucket = 1 + bisect_left(BOUNDS, value)
        writer.cells[base] += value
        writer.cells[base + bucket] += 1
        durations[0] += value
        durations[bucket] += 1

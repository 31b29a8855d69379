"""Cells: what is counted stays counted, whoever dies, and a reader never sees half of anything."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.cells import OTHER, RegionFull, SeriesName, SlotRegion, SlotWriter, read

BOUNDS = (10, 100)


def small(directory_bytes: int = 4096, cell_count: int = 64) -> SlotRegion:
    return SlotRegion.create(directory_bytes, cell_count)


def as_seen_by_another(region: SlotRegion) -> SlotRegion:
    """Attach anew to the same memory, as a process does that remembers nothing."""
    return SlotRegion(region.memory)


def totals(*regions: SlotRegion) -> dict[tuple[str, tuple[str, ...]], list[int]]:
    return {(sample.name.family, sample.name.labels): sample.values for sample in read(regions)}


def run_in_child(work: Callable[[], None]) -> int:
    """Fork, run `work` in the child, return the child's pid; the child always ends here."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


# -- counting and reading --------------------------------------------------------------------------------------


def test_counts_are_read_back_by_name() -> None:
    region = small()
    writer = SlotWriter(region)
    hits = writer.counter("hits", ("a",))
    writer.cells[hits] += 2
    open_now = writer.gauge("open")
    writer.cells[open_now] += 5
    writer.cells[open_now] -= 6
    base = writer.histogram("time", ("x", "y"), BOUNDS)
    writer.cells[base] += 50
    writer.cells[base + 2] += 1

    assert [sample.name for sample in read([as_seen_by_another(region)])] == [
        SeriesName("hits", "counter", ("a",)),
        SeriesName("open", "gauge", ()),
        SeriesName("time", "histogram", ("x", "y"), BOUNDS),
    ]
    assert totals(as_seen_by_another(region)) == {
        ("hits", ("a",)): [2],
        ("open", ()): [-1],
        ("time", ("x", "y")): [50, 0, 1, 0],
    }


def test_a_series_has_one_index_and_different_series_share_no_cell() -> None:
    writer = SlotWriter(small())
    histogram = writer.histogram("time", (), BOUNDS)
    others = [writer.counter("hits", ("a",)), writer.counter("hits", ("b",)), writer.gauge("open")]
    assert writer.histogram("time", (), BOUNDS) == histogram
    assert writer.counter("hits", ("a",)) == others[0]
    taken = [*range(histogram, histogram + len(BOUNDS) + 2), *others]
    assert len(set(taken)) == len(taken)


def test_label_values_of_any_text_come_back_unchanged() -> None:
    region = small()
    labels = ("", '"quoted"\n', "ünïcode \N{SNOWMAN}", "\ud800", "a,b\x00")
    SlotWriter(region).counter("hits", labels)
    assert [name.labels for name, _ in as_seen_by_another(region).series()] == [labels]


def test_regions_are_summed_series_by_series() -> None:
    first, second = small(), small()
    for region, hits, route in ((first, 3, "a"), (second, 4, "a"), (second, 9, "b")):
        writer = SlotWriter(region)
        writer.cells[writer.counter("hits", (route,))] += hits
        base = writer.histogram("time", (), BOUNDS)
        writer.cells[base] += hits
        writer.cells[base + 1] += 1
    # The second region knows them in another order and at other cells: names are what is summed.
    assert totals(second, first) == {
        ("hits", ("a",)): [7],
        ("hits", ("b",)): [9],
        ("time", ()): [16, 3, 0, 0],
    }


def test_reading_no_region_gives_nothing() -> None:
    assert read([]) == []
    assert read([small()]) == []


def test_a_reader_gets_later_series_without_attaching_again() -> None:
    region = small()
    reader = as_seen_by_another(region)
    writer = SlotWriter(region)
    for count, route in enumerate(("a", "b", "c"), start=1):
        writer.counter("hits", (route,))
        assert len(reader.series()) == count


# -- death and succession --------------------------------------------------------------------------------------


def test_a_successor_goes_on_with_the_same_cells() -> None:
    region = small()
    first = SlotWriter(region)
    index, base = first.counter("hits", ("a",)), first.histogram("time", (), BOUNDS)
    first.cells[index] += 1

    second = SlotWriter(as_seen_by_another(region))
    assert second.counter("hits", ("a",)) == index
    assert second.histogram("time", (), BOUNDS) == base
    assert second.counter("hits", ("b",)) == base + len(BOUNDS) + 2
    second.cells[index] += 1
    assert totals(region)["hits", ("a",)] == [2]


def test_totals_survive_kill_9_and_gauges_do_not() -> None:
    region = small()

    def work() -> None:
        writer = SlotWriter(region)
        writer.begin(os.getpid(), now=100.5)
        writer.cells[writer.gauge("open")] += 7
        index = writer.counter("hits")
        for _ in range(1000):
            writer.cells[index] += 1
        os.kill(os.getpid(), signal.SIGKILL)

    pid = run_in_child(work)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (region.pid, region.started) == (pid, 100.5)
    assert totals(region) == {("open", ()): [7], ("hits", ()): [1000]}

    region.vacate()
    assert (region.pid, region.started, region.heartbeat) == (0, 0.0, 0.0)
    assert totals(region) == {("open", ()): [0], ("hits", ()): [1000]}


def test_a_new_life_starts_with_gauges_at_zero_even_if_nobody_vacated_the_slot() -> None:
    region = small()
    dead = SlotWriter(region)
    dead.cells[dead.gauge("open")] += 7
    dead.cells[dead.counter("hits")] += 7
    SlotWriter(as_seen_by_another(region)).begin(4242, now=1.0)
    assert totals(region) == {("open", ()): [0], ("hits", ()): [7]}


def test_heartbeat_is_seconds_and_zero_before_the_first() -> None:
    region = small()
    assert (region.pid, region.started, region.heartbeat) == (0, 0.0, 0.0)
    writer = SlotWriter(region)
    writer.begin(17, now=1234.25)
    assert (region.pid, region.started, region.heartbeat) == (17, 1234.25, 1234.25)
    writer.beat(1235.000001)
    assert (as_seen_by_another(region).started, as_seen_by_another(region).heartbeat) == (1234.25, 1235.000001)


# -- records that are not whole --------------------------------------------------------------------------------


def test_bytes_beyond_the_committed_count_are_no_record_and_are_written_over() -> None:
    region = small()
    writer = SlotWriter(region)
    writer.counter("hits", ("a",))
    committed = region.committed
    writer.counter("hits", ("killed before the commit",))
    region.commit(committed)

    successor_view = as_seen_by_another(region)
    assert [name.labels for name, _ in successor_view.series()] == [("a",)]
    successor = SlotWriter(successor_view)
    successor.counter("hits", ("b",))
    assert [name.labels for name, _ in as_seen_by_another(region).series()] == [("a",), ("b",)]


def test_no_cut_of_a_directory_shows_a_record_that_was_not_there() -> None:
    region = small()
    writer = SlotWriter(region)
    ends = [0]
    for route in ("a", "b", "c"):
        writer.counter("hits", (route,))
        ends.append(region.committed)
    for cut in range(ends[-1] + 1):
        region.commit(cut)
        whole = sum(end <= cut for end in ends) - 1
        assert len(as_seen_by_another(region).series()) == whole


def test_a_committed_record_whose_bytes_are_not_visible_yet_is_read_later() -> None:
    region = small()
    writer = SlotWriter(region)
    writer.counter("hits", ("a",))
    start = region.committed
    writer.counter("hits", ("b",))
    written = bytes(region.directory[start : region.committed])
    for missing in (written[:-1] + b"?", bytes(len(written)), b"\xff" * 16 + written[16:]):
        region.directory[start : region.committed] = missing
        reader = as_seen_by_another(region)
        assert [name.labels for name, _ in reader.series()] == [("a",)]
        assert not reader.is_whole
        region.directory[start : region.committed] = written
        assert [name.labels for name, _ in reader.series()] == [("a",), ("b",)]
        assert reader.is_whole


def test_a_damaged_directory_is_not_written_on() -> None:
    region = small()
    SlotWriter(region).counter("hits", ("a",))
    region.directory[region.committed - 1] ^= 0xFF
    with pytest.raises(ValueError, match="damaged; restart the gateway"):
        SlotWriter(as_seen_by_another(region))


@pytest.mark.parametrize("memory", [mmap.mmap(-1, 100), mmap.mmap(-1, 8192)], ids=["short", "blank"])
def test_other_memory_is_refused(memory: mmap.mmap) -> None:
    with pytest.raises(ValueError, match="not a telemetry region of this version"):
        SlotRegion(memory)


# -- capacity --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "region",
    [small(directory_bytes=600, cell_count=1000), small(directory_bytes=100_000, cell_count=8)],
    ids=["directory full", "cells full"],
)
def test_new_series_of_a_full_region_become_one_other(region: SlotRegion) -> None:
    writer = SlotWriter(region)
    writer.declare(SeriesName("late", "counter", ("", "")))
    indices = [writer.counter("hits", (f"route-{number}",)) for number in range(100)]
    for index in indices:
        writer.cells[index] += 1

    own = len(set(indices)) - 1
    assert 0 < own < 99
    assert len(set(indices[:own])) == own and len(set(indices[own:])) == 1
    assert totals(region)["hits", (OTHER,)] == [100 - own]
    assert writer.counter("hits", ("route-0",)) == indices[0], "a series that has its cell keeps it"
    # A family that was declared has its place although the region is full.
    writer.cells[writer.counter("late", ("x", "y"))] += 1
    assert totals(region)["late", (OTHER, OTHER)] == [1]


def test_a_successor_in_a_full_region_counts_in_the_same_other() -> None:
    region = small(cell_count=4)
    writer = SlotWriter(region)
    indices = [writer.counter("hits", (str(number),)) for number in range(9)]
    successor = SlotWriter(as_seen_by_another(region))
    assert [successor.counter("hits", (str(number),)) for number in range(9)] == indices


def test_a_successor_keeps_room_for_an_other_that_was_never_needed() -> None:
    region = small(cell_count=3)
    SlotWriter(region).counter("hits", ("a",))
    successor = SlotWriter(as_seen_by_another(region))
    assert successor.counter("hits", ("b",)) == 1
    assert successor.counter("hits", ("c",)) == 2
    assert [name.labels for name, _ in region.series()] == [("a",), ("b",), (OTHER,)]


def test_a_successor_sets_the_room_aside_before_other_families_can_take_it() -> None:
    region = small(cell_count=4)
    SlotWriter(region).counter("hits", ("a",))
    successor = SlotWriter(as_seen_by_another(region))
    for number in range(5):
        successor.counter("greedy", (str(number),))
    successor.cells[successor.counter("hits", ("b",))] += 1
    assert totals(region)["hits", (OTHER,)] == [1]


def test_a_family_without_any_room_says_what_it_needs() -> None:
    writer = SlotWriter(small(cell_count=3))
    with pytest.raises(RegionFull, match=r"'time'.* 4 cells, free are 4096 and 3; create a larger region"):
        writer.histogram("time", (), BOUNDS)
    assert writer.counter("hits") == 0, "the refused family took nothing"


def test_a_label_that_is_other_by_itself_shares_the_series() -> None:
    region = small(cell_count=1)
    writer = SlotWriter(region)
    assert writer.counter("hits", (OTHER,)) == writer.counter("hits", ("late",)) == 0
    assert len(region.series()) == 1


def test_a_family_cannot_change_its_shape() -> None:
    writer = SlotWriter(small())
    writer.histogram("time", ("a",), BOUNDS)
    with pytest.raises(ValueError, match=r"'time' is a histogram.*cannot change to a counter"):
        writer.counter("time", ("a",))
    with pytest.raises(ValueError, match="cannot change to a histogram with 2 labels"):
        writer.histogram("time", ("a", "b"), BOUNDS)


def test_other_bounds_are_other_series_of_the_family() -> None:
    region = small()
    writer = SlotWriter(region)
    before, after = writer.histogram("time", ("a",), BOUNDS), writer.histogram("time", ("a",), (1,))
    assert after >= before + len(BOUNDS) + 2
    assert [sample.name.bounds for sample in read([region])] == [BOUNDS, (1,)]
    # Full, each set of bounds has its own series of all others.
    late = [writer.histogram("time", (f"late-{n}",), bounds) for n in range(200) for bounds in (BOUNDS, (1,))]
    assert len(set(late[-2:])) == 2
    assert late[-4:-2] == late[-2:]


FAMILIES = ("one", "two", "three")
STEPS = st.lists(st.tuples(st.sampled_from(FAMILIES), st.integers(0, 30)) | st.just("kill -9"), max_size=120)


@given(steps=STEPS, directory_bytes=st.integers(300, 2000), cell_count=st.integers(3, 40))
def test_nothing_counted_is_lost_whatever_the_capacity_and_the_deaths(
    steps: list[tuple[str, int] | str], directory_bytes: int, cell_count: int
) -> None:
    region = small(directory_bytes, cell_count)
    writer = SlotWriter(region)
    counted: Counter[str] = Counter()
    own: dict[tuple[str, int], int] = {}
    for family in FAMILIES:
        writer.declare(SeriesName(family, "counter", ("",)))
    for step in steps:
        if isinstance(step, str):
            writer = SlotWriter(as_seen_by_another(region))
            for family in FAMILIES:
                writer.declare(SeriesName(family, "counter", ("",)))
            continue
        family, route = step
        index = writer.counter(family, (str(route),))
        assert own.setdefault(step, index) == index
        writer.cells[index] += 1
        counted[family] += 1
    sums: Counter[str] = Counter()
    for sample in read([as_seen_by_another(region)]):
        sums[sample.name.family] += sample.values[0]
    assert sums == counted


# -- another process -------------------------------------------------------------------------------------------


def test_a_reader_beside_a_busy_writer_sees_whole_records_and_sums_that_only_grow() -> None:
    region = SlotRegion.create(directory_bytes=1 << 20, cell_count=1 << 14)
    series = 3000

    def work() -> None:
        writer = SlotWriter(region)
        steady = writer.counter("steady")
        for number in range(series):
            writer.cells[writer.counter("hits", (f"route-{number}",))] += 1
            writer.cells[steady] += 1

    pid = run_in_child(work)
    last = rounds = status = 0
    ended = False
    while True:
        seen = totals(region)
        steady = seen.pop(("steady", ()), [0])[0]
        assert steady >= last
        assert list(seen) == [("hits", (f"route-{number}",)) for number in range(len(seen))]
        last, rounds = steady, rounds + 1
        if ended:
            break
        done, status = os.waitpid(pid, os.WNOHANG)
        ended = done == pid
    assert status == 0
    assert last == len(seen) == series
    assert rounds > 1


def test_a_successor_knows_that_it_is_one() -> None:
    region = SlotRegion.create(1 << 16, 1 << 12)
    first = SlotWriter(region)
    assert not first.inherited
    first.counter("requests", ())
    assert SlotWriter(region).inherited


def test_threads_that_read_while_series_come_find_each_once() -> None:
    region = SlotRegion.create(1 << 18, 1 << 12)
    writer = SlotWriter(region)
    over = threading.Event()
    found: list[list[int]] = [[], []]

    def look(place: int) -> None:
        while not over.is_set():
            found[place].append(len(read([region])))

    threads = [threading.Thread(target=look, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1500):
        writer.cells[writer.counter("hits", (str(number),))] += 1
    over.set()
    for thread in threads:
        thread.join()
    assert all(counts == sorted(counts) for counts in found)
    samples = read([region])
    assert [each.name.labels for each in samples] == [(str(number),) for number in range(1500)]
    assert all(each.values == [1] for each in samples)
    assert [each.values for each in read([region], {"others"})] == []

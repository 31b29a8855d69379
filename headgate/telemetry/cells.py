"""Counters that survive the process that counts: signed 64-bit integers in one shared mapping per worker slot.

The master creates a region for every slot before it forks, so master, control and each successive worker of the
slot see the same memory. Counting is `cells[i] += 1` on a memoryview: no call, no lock, no system call.

    header (one page)    magic, sizes, heartbeat, pid, started, bytes of directory committed
    directory            append-only records that name the series and say which cells are theirs
    cells                one cell for a counter or a gauge; sum, buckets and the bucket above all for a histogram

Laws:
- One writer per region: the worker living in that slot, on one thread. Everybody else only reads, except that whoever
  buried the worker may `vacate()` the slot.
- A series never moves and is never removed, so an index is good for ever, across Plans and across workers. A
  successor reads the directory and goes on with the same cells: sums never step back, not even after a kill -9.
- A record's bytes are written first and the committed count last. x86 keeps that order of stores, other machines may
  not, so a record also carries a checksum: a reader stops at one that is not whole yet and gets it the next time.
- A histogram has no cell for its count. The count is the sum of its buckets, so a worker killed between two additions
  cannot leave the two in disagreement.
- Capacity is finite, fixed at creation, and costs no memory until touched. A full region collapses new series of a
  family into one whose labels are all "other"; room for that one is set aside when the family is declared.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Container, Iterable
from operator import add
from threading import Lock
from typing import Literal, NamedTuple
from zlib import crc32

Kind = Literal["counter", "gauge", "histogram"]

OTHER = "other"

# A series takes about 110 bytes of directory, and a route that is used brings five series and 21 cells. So this is room
# for 10,000 routes with a dozen combinations of method and status each.
DIRECTORY_BYTES = 16 * 1024 * 1024
CELL_COUNT = 4 * 1024 * 1024

_MAGIC_AND_VERSION = int.from_bytes(b"HGCELL01", "little")
_HEADER_BYTES = 4096
_MAGIC, _DIRECTORY, _CELLS, _HEARTBEAT, _PID, _STARTED, _COMMITTED = range(7)

# Bytes of the name, checksum of all that follows it, index of the first cell; then the name, a JSON array.
_RECORD = struct.Struct("<IIq")
_CHECKED_FROM = 8


class RegionFull(ValueError):
    """A family came to a region that has no room left for even one series of it."""


class SeriesName(NamedTuple):
    """Which series: two series of one family differ in their label values, in the order of the family's labels.

    `bounds` are the upper bounds of a histogram's buckets in cell units, without the one above all.
    """

    family: str
    kind: Kind
    labels: tuple[str, ...]
    bounds: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Count the cells of one series of this name."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def overflow(self) -> SeriesName:
        """Name the series that takes what a full region cannot tell apart any more."""
        return self._replace(labels=(OTHER,) * len(self.labels))


class Sample(NamedTuple):
    """One series summed over the slots, in cell units.

    `values` is one number for a counter or a gauge. For a histogram it is the sum of what was observed, then the
    count in each bucket (not cumulative), the bucket above all bounds last.
    """

    name: SeriesName
    values: list[int]


class SlotRegion:
    """The memory of one worker slot, and everything that can be read from it."""

    __slots__ = ("_header", "_parsed", "_reading", "_series", "cells", "directory", "memory")

    def __init__(self, memory: mmap.mmap) -> None:
        """Attach to a region made by `create`.

        Raises:
            ValueError: if the memory is not such a region, or one of another version.
        """
        self.memory = memory
        view = memoryview(memory)
        if len(view) < _HEADER_BYTES or view[:8].cast("q")[0] != _MAGIC_AND_VERSION:
            raise ValueError("this memory is not a telemetry region of this version of the gateway")
        self._header = view[:_HEADER_BYTES].cast("q")
        end = _HEADER_BYTES + self._header[_DIRECTORY]
        self.directory = view[_HEADER_BYTES:end]
        self.cells = view[end : end + self._header[_CELLS] * 8].cast("q")
        self._parsed = 0
        self._reading = Lock()
        self._series: list[tuple[SeriesName, int]] = []

    @classmethod
    def create(cls, directory_bytes: int = DIRECTORY_BYTES, cell_count: int = CELL_COUNT, file: int = -1) -> SlotRegion:
        """Map an empty region that children forked from now on share, or whoever maps the empty `file` given here."""
        directory_bytes += -directory_bytes % 8
        size = _HEADER_BYTES + directory_bytes + cell_count * 8
        if file >= 0:
            os.ftruncate(file, size)
        memory = mmap.mmap(file, size)
        header = memoryview(memory)[:_HEADER_BYTES].cast("q")
        header[_DIRECTORY] = directory_bytes
        header[_CELLS] = cell_count
        header[_MAGIC] = _MAGIC_AND_VERSION
        return cls(memory)

    @property
    def heartbeat(self) -> float:
        """When the worker last called `beat`, in monotonic seconds; 0.0 while nobody has."""
        return self._header[_HEARTBEAT] / 1_000_000

    @property
    def started(self) -> float:
        """When the worker of this slot began, in monotonic seconds; 0.0 while nobody has."""
        return self._header[_STARTED] / 1_000_000

    @property
    def pid(self) -> int:
        """Process id of the worker in this slot; 0 for an empty slot."""
        return self._header[_PID]

    @property
    def committed(self) -> int:
        """Bytes of the directory that hold whole records."""
        return self._header[_COMMITTED]

    @property
    def is_whole(self) -> bool:
        """Tell whether every committed record was read; False only for an instant, or for a damaged directory."""
        return self._parsed == self._header[_COMMITTED]

    def mark(self, pid: int, started: float, heartbeat: float) -> None:
        """Write who lives here and since when; times are monotonic seconds."""
        self._header[_PID] = pid
        self._header[_STARTED] = int(started * 1_000_000)
        self._header[_HEARTBEAT] = int(heartbeat * 1_000_000)

    def beat(self, now: float) -> None:
        """Write the heartbeat alone, `now` in monotonic seconds."""
        self._header[_HEARTBEAT] = int(now * 1_000_000)

    def commit(self, end: int) -> None:
        """Publish the directory up to byte `end`. The bytes before it must have been written."""
        self._header[_COMMITTED] = end

    def series(self) -> list[tuple[SeriesName, int]]:
        """List every committed series with the index of its first cell, oldest first.

        What was read once is remembered, so that a call costs only the records added since the last one. The list
        is the region's own: do not change it. Several threads may ask.
        """
        if self._parsed < self._header[_COMMITTED]:
            with self._reading:
                self._parse(self._header[_COMMITTED])
        return self._series

    def _parse(self, committed: int) -> None:
        while self._parsed < committed:
            start = self._parsed
            length, checksum, base = _RECORD.unpack_from(self.directory, start)
            end = start + _RECORD.size + length
            if end > committed or crc32(self.directory[start + _CHECKED_FROM : end]) != checksum:
                break
            family, kind, labels, bounds = json.loads(bytes(self.directory[start + _RECORD.size : end]))
            self._series.append((SeriesName(family, kind, tuple(labels), tuple(bounds)), base))
            self._parsed = end

    def zero_gauges(self) -> None:
        """Set every gauge to zero: what a dead worker had open died with it. Only for a slot nobody lives in."""
        for name, base in self.series():
            if name.kind == "gauge":
                self.cells[base] = 0

    def vacate(self) -> None:
        """Mark the slot as empty after its worker's death: no pid, no heartbeat, gauges at zero, totals kept.

        Without it the successor would be judged by the last heartbeat of the dead.
        """
        self.mark(0, 0.0, 0.0)
        self.zero_gauges()


class SlotWriter:
    """The one writer of a region. Ask for an index once, then count in `cells` directly.

    `cells` holds signed 64-bit integers; an index from `counter` or `gauge` is the series' only cell. A histogram's
    index is the cell of its sum, followed by one cell for each bound and one above all bounds, so an observation is
    `cells[base] += value; cells[base + 1 + bisect_left(bounds, value)] += 1`.
    """

    __slots__ = (
        "_declared",
        "_free_bytes",
        "_free_cells",
        "_indices",
        "_next_cell",
        "_shapes",
        "cells",
        "inherited",
        "region",
    )

    def __init__(self, region: SlotRegion) -> None:
        """Take over a region, empty or left by a dead worker.

        Raises:
            ValueError: if the directory is damaged.
        """
        self.region = region
        self.cells = region.cells
        # A region is written in only by workers, so what stands there is a predecessor's.
        self.inherited = region.committed > 0
        self._indices: dict[SeriesName, int] = {}
        self._shapes: dict[str, SeriesName] = {}
        # Overflow series that have their room; a histogram has one for each set of bounds.
        self._declared: set[SeriesName] = set()
        self._next_cell = 0
        for name, base in region.series():
            self._indices[name] = base
            self._next_cell = base + name.size
        self._free_bytes = len(region.directory) - region.committed
        self._free_cells = len(region.cells) - self._next_cell
        if not region.is_whole:
            raise ValueError("the directory of this telemetry region is damaged; restart the gateway")
        for name in self._indices:
            self.declare(name)

    def begin(self, pid: int, now: float) -> None:
        """Mark the start of a worker's life in this slot, `now` in monotonic seconds; gauges start at zero."""
        self.region.zero_gauges()
        self.region.mark(pid, started=now, heartbeat=now)

    def beat(self, now: float) -> None:
        """Show that the worker lives, `now` in monotonic seconds."""
        self.region.beat(now)

    def declare(self, name: SeriesName) -> None:
        """Set aside the room for the overflow series of `name`'s family, once; the label values do not matter.

        Declare every family at the start: then a full region can still count in all of them.
        """
        overflow = name.overflow
        if overflow in self._declared:
            return
        shape = self._shapes.setdefault(name.family, overflow)
        if (shape.kind, shape.labels) != (overflow.kind, overflow.labels):
            raise ValueError(
                f"metric {name.family!r} is a {shape.kind} with {len(shape.labels)} labels; it cannot change to a "
                f"{name.kind} with {len(name.labels)} labels while the gateway runs: restart it"
            )
        if overflow not in self._indices:
            size = _record_size(overflow)
            if size > self._free_bytes or overflow.size > self._free_cells:
                raise RegionFull(
                    f"no room for metric {name.family!r}: it needs {size} bytes of directory and {overflow.size} "
                    f"cells, free are {self._free_bytes} and {self._free_cells}; create a larger region"
                )
            self._free_bytes -= size
            self._free_cells -= overflow.size
        self._declared.add(overflow)

    def counter(self, family: str, labels: tuple[str, ...] = ()) -> int:
        """Return the cell of a number that only grows.

        Raises:
            ValueError: if the family exists with another kind or another number of labels.
            RegionFull: if there is no room for even one series of a new family. All three methods raise the same.
        """
        return self._index(SeriesName(family, "counter", labels))

    def gauge(self, family: str, labels: tuple[str, ...] = ()) -> int:
        """Return the cell of a number that goes up and down, and to zero when its worker dies.

        Series may have collapsed into one cell, so add and subtract; set only a gauge that has no labels, or
        labels that tell slots apart.
        """
        return self._index(SeriesName(family, "gauge", labels))

    def histogram(self, family: str, labels: tuple[str, ...], bounds: tuple[int, ...]) -> int:
        """Return the first cell of a histogram with these upper `bounds`, ascending, in cell units.

        Series of one family with other bounds are series of their own; whoever adds them up has to bring them into the
        same bounds.
        """
        return self._index(SeriesName(family, "histogram", labels, bounds))

    def _index(self, name: SeriesName) -> int:
        index = self._indices.get(name)
        return self._add(name) if index is None else index

    def _add(self, name: SeriesName) -> int:
        self.declare(name)
        overflow = name.overflow
        if name != overflow:
            size = _record_size(name)
            if size <= self._free_bytes and name.size <= self._free_cells:
                self._free_bytes -= size
                self._free_cells -= name.size
                return self._append(name)
        index = self._indices.get(overflow)
        return self._append(overflow) if index is None else index

    def _append(self, name: SeriesName) -> int:
        region = self.region
        base = self._next_cell
        record = _record(name, base)
        start = region.committed
        region.directory[start : start + len(record)] = record
        region.commit(start + len(record))
        self._next_cell = base + name.size
        self._indices[name] = base
        return base


def read(regions: Iterable[SlotRegion], families: Container[str] | None = None) -> list[Sample]:
    """Sum every series over the regions, or those of some families, in the order the series were first met.

    A worker may be counting meanwhile: each cell is read whole, but a histogram's sum may be one observation ahead
    of its buckets.
    """
    sums: dict[SeriesName, list[int]] = {}
    for region in regions:
        cells = region.cells
        # A copy: what another thread finds meanwhile is for the next time.
        for name, base in list(region.series()):
            if families is not None and name.family not in families:
                continue
            values = cells[base : base + name.size].tolist()
            known = sums.get(name)
            sums[name] = values if known is None else list(map(add, known, values))
    return [Sample(name, values) for name, values in sums.items()]


def _record(name: SeriesName, base: int) -> bytes:
    text = json.dumps(name, separators=(",", ":")).encode("ascii")
    checked = base.to_bytes(8, "little", signed=True) + text
    return _RECORD.pack(len(text), crc32(checked), base) + text


def _record_size(name: SeriesName) -> int:
    return len(_record(name, 0))

"""What was counted since the last look: the cells of one worker slot, compared with how they were.

Ten thousand routes are half a million cells in every slot, and next to none of them changes within a second. So the
memory is compared in blocks, which costs a copy of it, and only series in blocks that differ are read.

A series is read as one integer: its cells, 64 bits each, side by side. Cells of counters and histograms never step
back, so neither sums nor differences of such integers borrow from one cell to the next, and a histogram of any number
of buckets is added up in one operation. `lanes` takes it apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from headgate.telemetry.cells import SeriesName, SlotRegion

_CELL = 8
_BLOCK = 4096
_PART = 256

_Group = TypeVar("_Group", bound=Hashable)


class Changes(Generic[_Group]):
    """The changes of one region, summed by group; `group_of` says to which group a series belongs, None to none.

    Only counters and histograms may be grouped.
    """

    __slots__ = ("_before", "_end", "_group_of", "_known", "_parts", "_region")

    def __init__(self, region: SlotRegion, group_of: Callable[[SeriesName], _Group | None]) -> None:
        self._region = region
        self._group_of = group_of
        self._known = self._end = 0
        self._before: bytes | None = None
        # By number of a part of the memory: what lies in it, and where it begins and ends in bytes.
        self._parts: dict[int, list[tuple[_Group, int, int]]] = {}

    def take(self) -> dict[_Group, int]:
        """Return what was counted since the last call, by group; nothing from the first one.

        A series that came between two calls began at zero. A histogram's sum may be an observation ahead of its
        buckets.
        """
        self._learn(self._region.series())
        end = self._end
        now = self._region.cells[:end].tobytes()
        before, self._before = self._before, now
        if before is None:
            return {}
        return self._sum(before.ljust(len(now), b"\0"), now)

    def _learn(self, series: list[tuple[SeriesName, int]]) -> None:
        # Another thread may be finding further ones: what is known is what was gone through.
        fresh = series[self._known :]
        self._known += len(fresh)
        for name, base in fresh:
            self._end = base + name.size
            group = self._group_of(name)
            if group is not None:
                start, end = base * _CELL, (base + name.size) * _CELL
                for part in range(start // _PART, (end - 1) // _PART + 1):
                    self._parts.setdefault(part, []).append((group, start, end))

    def _sum(self, before: bytes, now: bytes) -> dict[_Group, int]:
        sums: dict[_Group, int] = {}
        read, parts, done = int.from_bytes, self._parts, -1
        for block in range(0, len(now), _BLOCK):
            if before[block : block + _BLOCK] == now[block : block + _BLOCK]:
                continue
            for start in range(block, min(block + _BLOCK, len(now)), _PART):
                if before[start : start + _PART] == now[start : start + _PART]:
                    continue
                for group, first, end in parts.get(start // _PART, ()):
                    # One that lies in two parts is met twice, in the order of the memory.
                    if first <= done:
                        continue
                    done = first
                    change = read(now[first:end], "little") - read(before[first:end], "little")
                    if change > 0:
                        sums[group] = sums.get(group, 0) + change
        return sums


def lanes(value: int, count: int) -> list[int]:
    """Take an integer of so many cells apart."""
    return memoryview(value.to_bytes(count * _CELL, "little")).cast("q").tolist()

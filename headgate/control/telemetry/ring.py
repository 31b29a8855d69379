"""The last of something, each under a number of its own: what the query API pages through."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

_Item = TypeVar("_Item")


class Numbered(NamedTuple, Generic[_Item]):
    """One item and its number; a later one has a greater one."""

    number: int
    item: _Item


class Ring(Generic[_Item]):
    """The last `most` items, in the order of their numbers."""

    __slots__ = ("_kept",)

    def __init__(self, most: int) -> None:
        self._kept: deque[Numbered[_Item]] = deque(maxlen=most)

    def keep(self, most: int) -> list[Numbered[_Item]]:
        """Keep so many from now on; return those that are forgotten by it, oldest first."""
        gone = [self._kept[place] for place in range(max(0, len(self._kept) - most))]
        self._kept = deque(self._kept, maxlen=most)
        return gone

    def add(self, number: int, item: _Item) -> Numbered[_Item] | None:
        """Keep an item whose number is greater than all before; return the one that is forgotten for it."""
        kept = self._kept
        gone = kept[0] if kept and len(kept) == kept.maxlen else None
        kept.append(Numbered(number, item))
        return gone

    def newest(self, before: int | None = None) -> Iterator[Numbered[_Item]]:
        """Go through the items, newest first, those with a number below `before`; any thread may."""
        for each in reversed(list(self._kept)):
            if before is None or each.number < before:
                yield each

    def __len__(self) -> int:
        return len(self._kept)


def page(found: Iterable[Numbered[_Item]], most: int) -> tuple[list[_Item], str | None]:
    """Take one page, and the cursor of the next one: the number that its items are below. None where there is none.

    A filter that nothing passes goes through all that is kept, so this is nothing for the loop of control.
    """
    taken = list(islice(found, most + 1))
    following = str(taken[most - 1].number) if len(taken) > most else None
    return [each.item for each in taken[:most]], following


def part(listed: Sequence[_Item], start: int, most: int) -> tuple[list[_Item], str | None]:
    """Take one page of a list without numbers, and the cursor of the next one: its place. None where there is none."""
    end = start + most
    return list(listed[start:end]), str(end) if end < len(listed) else None

"""The copy of a body that streams through: complete, or none at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headgate.core.failure import Failure
from headgate.core.message import Field
from headgate.wire.replay import KeptBody


class Recorded:
    """A sink that notes what comes."""

    def __init__(self) -> None:
        self.came: list[object] = []

    def write(self, data: bytes) -> None:
        self.came.append(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        self.came.append(("end", tuple(trailers)))

    def source_failed(self, failure: Failure) -> None:
        self.came.append(failure)


@pytest.mark.parametrize(
    ("first", "room", "pieces", "whole"),
    [
        (b"", 0, [], b""),
        (b"", 3, [b"a", b"bc"], b"abc"),
        (b"ab", 3, [b"c"], b"abc"),
        (b"ab", 3, [b"cd"], None),
        # Given up as a whole: what is small enough again behind it is no beginning.
        (b"ab", 3, [b"cd", b"e"], None),
        (b"abcd", 3, [], None),
        (b"", 0, [b"a"], None),
    ],
)
def test_all_of_it_is_kept_or_nothing(first: bytes, room: int, pieces: list[bytes], whole: bytes | None) -> None:
    sink = Recorded()
    kept = KeptBody(first, room, sink)
    for piece in pieces:
        kept.write(piece)
    assert kept.whole == whole
    assert sink.came == pieces


def test_the_end_passes_on_with_its_trailers() -> None:
    sink = Recorded()
    KeptBody(b"", 10, sink).finish([(b"Checksum", b"1")])
    assert sink.came == [("end", ((b"Checksum", b"1"),))]


def test_a_body_that_broke_is_not_sent_again() -> None:
    sink, failure = Recorded(), Failure("client_closed")
    kept = KeptBody(b"ab", 10, sink)
    kept.source_failed(failure)
    assert sink.came == [failure]
    assert kept.whole is None

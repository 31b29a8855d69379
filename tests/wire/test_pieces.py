"""Pieces that wait."""

from __future__ import annotations

import sys
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.pieces import keep


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=60))
def test_nothing_is_lost_or_put_out_of_order(sent: list[bytes]) -> None:
    for pieces in (list[bytes](), deque[bytes]()):
        for data in sent:
            keep(pieces, data)
        assert b"".join(pieces) == b"".join(sent)


def test_a_body_in_tiny_pieces_costs_about_what_it_weighs() -> None:
    pieces: list[bytes] = []
    for _ in range(32_768):
        keep(pieces, b"ab")
    assert sys.getsizeof(pieces) + sum(map(sys.getsizeof, pieces)) < 80_000


def test_large_pieces_are_not_copied() -> None:
    large = bytes(4096)
    pieces = [b"small"]
    keep(pieces, large)
    keep(pieces, b"small")
    assert pieces[1] is large
    assert len(pieces) == 3

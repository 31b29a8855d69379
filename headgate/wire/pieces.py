"""Pieces of a body that wait for somebody to take them.

Law: what waits costs about what it weighs. Every piece is an object of some forty bytes besides its own, and a peer may
send a byte at a time: small ones are put together, which copies none of them more often than a thousand times.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_SMALL: Final = 1024


def keep(pieces: list[bytes] | deque[bytes], data: bytes) -> None:
    """Put a piece behind those that wait."""
    if pieces and len(data) < _SMALL and len(pieces[-1]) + len(data) <= _SMALL:
        pieces[-1] += data
    else:
        pieces.append(data)

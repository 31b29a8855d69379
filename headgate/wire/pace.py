"""How the body of one request arrives: fast enough, and not all framing.

Law: while the gateway holds the client back, the time is the gateway's and no rate is judged.
"""

from __future__ import annotations

from headgate.wire.settings import HttpLimits

# Seconds between two looks at how a body arrives; also the grace before its rate counts.
_INSPECTION = 5.0
# Bytes of a chunked body that may be framing: 16 for each byte of body, and this much on top.
_FRAMING = 16 * 1024
_FRAMING_PER_BYTE = 16


class BodyPace:
    """The watch over a body that was not whole in the read that brought its head."""

    __slots__ = ("_framed", "_framing", "_inspected_bytes", "_since", "held_back", "last_byte")

    def __init__(self, now: float, bytes_in: int, held_back: bool) -> None:
        """`now`: of the last read; `bytes_in`: of the body until then; `held_back`: the client is not read."""
        self.last_byte = now
        self.held_back = held_back
        self._since = now
        self._inspected_bytes = 0
        self._framed = bytes_in
        self._framing = 0

    def is_framing(self, size: int, bytes_in: int, trailers_limit: int) -> bool:
        """Bound what of a chunked body is not body: sizes, extensions, trailers; the parser gathers without bound.

        As Go does since CVE-2023-39326: each byte of body earns framing for the smallest of chunks, with room.
        `size`: of the last read; `bytes_in`: of the body with it; `trailers_limit`: in bytes, 0 before any came.
        """
        body = bytes_in - self._framed
        self._framed = bytes_in
        self._framing = max(0, self._framing + size - _FRAMING_PER_BYTE * body)
        return self._framing > (trailers_limit or _FRAMING)

    def is_too_slow(self, now: float, bytes_in: int, paused: bool, limits: HttpLimits) -> bool:
        """Judge how the body arrives, and begin a new window when one is over."""
        window = now - self._since
        if not paused:
            idle = now - self.last_byte >= limits.body_timeout
            judged = window >= _INSPECTION and not self.held_back
            if idle or (judged and bytes_in - self._inspected_bytes < limits.min_body_rate * window):
                return True
        if window >= _INSPECTION:
            self._since, self._inspected_bytes, self.held_back = now, bytes_in, paused
        return False


def next_look(now: float, limits: HttpLimits) -> float:
    """Return when a body that arrives is to be looked at again."""
    return now + min(_INSPECTION, limits.body_timeout)

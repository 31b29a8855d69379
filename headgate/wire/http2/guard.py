"""What a peer may send on an HTTP/2 connection, judged by the headers of its frames before anything parses them.

A frame's header is nine bytes: length, type, flags, stream (RFC 9113 section 4.1). That is enough to know what a frame
will cost, and whether it moves anything on. The rows of the RFC's section 10.5 are bounds here: resets (rapid reset,
CVE-2023-44487), CONTINUATION without end (CVE-2024-27316), frames that ask for an answer or for nothing at all.

Laws: reads no clock and does no input or output. The verdict does not depend on how bytes were cut into pieces. After
a violation nothing of the connection is looked at again. A transfer of any size passes: WINDOW_UPDATE is counted only
beyond what was sent, and so is PING.
"""

from __future__ import annotations

from typing import NamedTuple

from h2.errors import ErrorCodes

from headgate.wire.settings import Http2Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16384
"""Bytes of a frame's content that we take: the least that RFC 9113 section 4.2 allows, as we announce no other."""

_HEADER = 9
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 5, 6, 8, 9
_END_STREAM, _END_HEADERS, _PADDED = 0x1, 0x4, 0x8
_ACK = 0x1
# A padded DATA frame of at most so many bytes may be padding alone (section 6.1: one byte of length, at most 255).
_ALL_PADDING = 256
# What nghttp2 takes in one SETTINGS frame, too.
_MAX_SETTINGS = 32
_SETTING = 6
# Identifiers from 1 on that have a meaning to us (RFC 9113 section 6.5.2, RFC 8441 section 3); h2 keeps all others.
_KNOWN_SETTINGS = 9
# Of a connection's life. RFC 8701 has peers send one or two that mean nothing.
_MAX_STRANGE_SETTINGS = 64
# WINDOW_UPDATE and PING frames that one DATA frame of ours, and one stream of theirs, account for: one for the stream
# and one for the connection, twice over. Envoy: 10 and 2. Peers of gRPC measure the way there and back by a PING for
# DATA that came, as often as it comes (grpc-go: bdpEstimator).
_CREDIT = 4
# Frames behind resets of ours that are not counted, in all.
_MOST_FORGIVEN = 65_536


class Violation(NamedTuple):
    """Why a connection ends: the code for GOAWAY, a kind for metrics, and a sentence for the log."""

    code: ErrorCodes
    kind: str
    sentence: str


_FIRST = Violation(ErrorCodes.PROTOCOL_ERROR, "preface", "this is no HTTP/2: the first frame is not SETTINGS")
_FRAME_SIZE = Violation(ErrorCodes.FRAME_SIZE_ERROR, "frame_size", "a frame is larger than announced")
_BLOCK_BROKEN = Violation(ErrorCodes.PROTOCOL_ERROR, "header_block", "another frame inside a block of fields")
_CONTINUATIONS = Violation(ErrorCodes.ENHANCE_YOUR_CALM, "continuation_flood", "too many CONTINUATION frames")
_BLOCK_SIZE = Violation(ErrorCodes.ENHANCE_YOUR_CALM, "header_bytes", "too many bytes in a block of fields")
_RESETS = Violation(ErrorCodes.ENHANCE_YOUR_CALM, "rapid_reset", "too many streams were reset")
_CONTROLS = Violation(ErrorCodes.ENHANCE_YOUR_CALM, "control_flood", "too many frames that move nothing on")
_SETTINGS_COUNT = Violation(ErrorCodes.ENHANCE_YOUR_CALM, "settings_flood", "too many settings")


class FrameGuard:
    """The judge of one connection's incoming frames, for a client's connection and for an upstream's alike."""

    __slots__ = (
        "_block",
        "_bounds",
        "_collected",
        "_continuations",
        "_controls",
        "_credit",
        "_greeted",
        "_highest",
        "_kind",
        "_left",
        "_max_block",
        "_partial",
        "_resets",
        "_strange",
        "_streams",
        "_until",
    )

    def __init__(self, bounds: Http2Limits, max_block: int, preface: bool) -> None:
        """Begin; `max_block`: encoded bytes of one block of fields; `preface`: a client's connection preface comes."""
        self._bounds = bounds
        self._max_block = max_block
        # What of the current frame (or of the preface) is still to come, and a header that did not come whole.
        self._left = len(PREFACE) if preface else 0
        self._kind = -1
        self._partial = b""
        self._greeted = False
        # The open block of fields: its bytes so far; -1 when none is open.
        self._block = -1
        self._continuations = 0
        # SETTINGS whose content did not come whole; how many meant nothing.
        self._collected = b""
        self._strange = 0
        self._highest = 0
        # Of this window.
        self._until = 0.0
        self._controls = 0
        self._resets = 0
        self._streams = 0
        self._credit = 0

    @property
    def in_head(self) -> bool:
        """Tell whether a block of fields has begun and not ended."""
        return self._block >= 0 or (self._left > 0 and self._kind in (_HEADERS, _CONTINUATION))

    def look(self, data: bytes, now: float) -> Violation | None:
        """Judge what has arrived at `now` (monotonic seconds); None when it may be parsed."""
        size = len(data)
        if self._partial:
            data = self._partial + data
            size = len(data)
            self._partial = b""
        at = 0
        while True:
            left = self._left
            if left:
                if self._kind == _SETTINGS:
                    self._collected += data[at : at + left]
                if left >= size - at:
                    self._left = left - (size - at)
                    if not self._left and self._kind == _SETTINGS:
                        return self._settings()
                    return None
                at += left
                self._left = 0
                if self._kind == _SETTINGS:
                    violation = self._settings()
                    if violation is not None:
                        return violation
            if size - at < _HEADER:
                self._partial = data[at:]
                return None
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            self._kind = kind = data[at + 3]
            number = int.from_bytes(data[at + 5 : at + _HEADER], "big") if kind == _HEADERS else 0
            violation = self._judge(kind, length, data[at + 4], number, now)
            if violation is not None:
                return violation
            self._left = length
            at += _HEADER

    def sent(self, frames: int) -> None:
        """Learn of DATA frames that went out: the peer will give windows back for them."""
        self._credit += _CREDIT * frames

    def blame(self, now: float) -> Violation | None:
        """Count a stream that we reset, or refused, for what the peer did (as in MadeYouReset, CVE-2025-8671)."""
        if now >= self._until:
            self._turn(now)
        return self._count_reset()

    def forgive(self, frames: int) -> None:
        """Learn that a stream was reset by us, of which so many frames may be on their way."""
        self._credit = max(self._credit, min(self._credit + frames, _MOST_FORGIVEN))

    def stray(self, frames: int, now: float) -> Violation | None:
        """Count frames that h2 answered with a reset: they came behind the end of their stream.

        Who is refused early has some on their way, so those that a stream accounts for are free.
        """
        free = min(self._credit, frames)
        self._credit -= free
        if now >= self._until:
            self._turn(now)
        self._controls += frames - free
        return _CONTROLS if self._controls > self._bounds.max_control_frames else None

    def _judge(self, kind: int, length: int, flags: int, number: int, now: float) -> Violation | None:
        if not self._greeted:
            # RFC 9113 section 3.4, of both sides. "HTTP/1.1 " is the header of a frame, too: of 4,740,180 bytes.
            if kind != _SETTINGS or flags & _ACK:
                return _FIRST
            self._greeted = True
            return _SETTINGS_COUNT if length > _MAX_SETTINGS * _SETTING else None
        if length > MAX_FRAME:
            return _FRAME_SIZE
        if self._block >= 0 or kind == _CONTINUATION:
            return self._continue(kind, length, flags)
        if kind == _DATA:
            if (length and not (flags & _PADDED and length <= _ALL_PADDING)) or flags & _END_STREAM:
                return None
        elif kind in (_HEADERS, _PUSH_PROMISE):
            return self._begin_block(length, flags, number, now)
        elif kind in (_WINDOW_UPDATE, _PING) and self._credit > 0:
            self._credit -= 1
            return None
        if now >= self._until:
            self._turn(now)
        if kind == _RST_STREAM:
            return self._count_reset()
        if kind == _SETTINGS and length > (0 if flags & _ACK else _MAX_SETTINGS * _SETTING):
            # Section 6.5: an acknowledgement has no content.
            return _FRAME_SIZE if flags & _ACK else _SETTINGS_COUNT
        self._controls += 1
        return _CONTROLS if self._controls > self._bounds.max_control_frames else None

    def _begin_block(self, length: int, flags: int, number: int, now: float) -> Violation | None:
        if now >= self._until:
            self._turn(now)
        if number > self._highest:
            self._highest = number
            self._streams += 1
            self._credit += _CREDIT
        if length > self._max_block:
            return _BLOCK_SIZE
        if not flags & _END_HEADERS:
            self._block = length
            self._continuations = 0
        return None

    def _continue(self, kind: int, length: int, flags: int) -> Violation | None:
        if kind != _CONTINUATION or self._block < 0:
            return _BLOCK_BROKEN
        # Empty ones count: they cost as much as others (RFC 9113 section 10.5).
        self._continuations += 1
        self._block += length
        if self._continuations > self._bounds.max_continuations:
            return _CONTINUATIONS
        if self._block > self._max_block:
            return _BLOCK_SIZE
        if flags & _END_HEADERS:
            self._block = -1
        return None

    def _settings(self) -> Violation | None:
        """Count settings that mean nothing: h2 keeps each identifier, of which there are 65,536."""
        collected, self._collected = self._collected, b""
        for at in range(0, len(collected) - 1, _SETTING):
            if not 1 <= (collected[at] << 8 | collected[at + 1]) <= _KNOWN_SETTINGS:
                self._strange += 1
        return _SETTINGS_COUNT if self._strange > _MAX_STRANGE_SETTINGS else None

    def _count_reset(self) -> Violation | None:
        self._resets += 1
        # Who has most streams answered may cancel some: a proxy with many users does. Envoy's rule, too.
        return _RESETS if self._resets > max(self._bounds.max_resets, self._streams // 2) else None

    def _turn(self, now: float) -> None:
        self._until = now + self._bounds.window
        self._controls = 0
        self._resets = 0
        self._streams = 0

"""A ClientConnection without a socket: its transport keeps what was written, its handler what was asked.

Law: everything happens when the test says so; the clock is real and deadlines are never fired unless asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from headgate.core.failure import REASONS
from headgate.core.message import Field, ResponseHead
from headgate.wire import http1
from headgate.wire.downstream import ClientConnection
from headgate.wire.head import HeadReader
from headgate.wire.outbox import Outbox
from headgate.wire.rules import Rules
from headgate.wire.settings import HttpLimits
from headgate.wire.stream import ClientStream
from headgate.wire.timers import TimerWheel


class AtOnce:
    """A loop whose turn ends with each answer."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        callback()


class FakeTransport:
    """What a connection asks of its socket."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.aborted = False
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40_000) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take any."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.written += b"".join(pieces)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Whole:
    """A request as the handler got it, with its body once that had ended."""

    def __init__(self, stream: ClientStream) -> None:
        self.stream = stream
        self.body = b""
        self.ended = False

    def write(self, data: bytes) -> None:
        self.body += data

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        self.ended = True

    def source_failed(self, failure: Exception) -> None:
        raise AssertionError("a request's body does not fail this way")


class FakeClient:
    """One connection: `feed` it bytes, then see what was `asked` and which `refusals` were written.

    With `answers` every whole request is answered at once with 204, as if the upstream were quick.
    """

    def __init__(self, limits: HttpLimits | None = None, *, answers: bool = True) -> None:
        limits = limits or HttpLimits()
        self.answers = answers
        self.asked: list[Whole] = []
        self.refusals: list[str] = []
        self.lost = False
        kinds = http1.request_kinds(["X-Request-ID"], limits.underscores)
        heads = HeadReader(limits, "http", kinds, http1.response_kinds())
        outbox = Outbox(cast(asyncio.AbstractEventLoop, AtOnce()))
        rules = Rules(
            limits,
            heads,
            TimerWheel(),
            outbox,
            self._handle,
            on_open=lambda _: True,
            on_close=lambda _: None,
            on_switch=lambda _before, _after: None,
            on_violation=lambda _: None,
            http2=False,
        )
        self.connection = ClientConnection(rules)
        self.transport = FakeTransport()
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def _handle(self, stream: ClientStream) -> None:
        if stream.failure is not None:
            self._refuse(stream)
            return
        whole = Whole(stream)
        self.asked.append(whole)
        stream.on_failed = lambda _failure: self._refuse(stream)
        stream.pipe_to(whole)
        self._settle()

    def _refuse(self, stream: ClientStream) -> None:
        assert stream.failure is not None
        self.refusals.append(stream.failure.reason)
        if not stream.responded:
            stream.respond(ResponseHead(REASONS[stream.failure.reason].status, [], 0), b"", True)

    def _settle(self) -> None:
        for whole in self.asked:
            if self.answers and whole.ended and not whole.stream.responded and whole.stream.failure is None:
                whole.stream.respond(ResponseHead(204, [], -1), b"", True)

    def feed(self, data: bytes, sizes: Iterable[int] = ()) -> FakeClient:
        """Feed bytes: pieces of these sizes first, then the rest."""
        for size in sizes:
            self._piece(data[:size])
            data = data[size:]
        self._piece(data)
        return self

    def answer(self) -> FakeClient:
        """Answer from now on, first what has been asked."""
        self.answers = True
        self._settle()
        return self

    def drip(self, data: bytes) -> FakeClient:
        """Feed byte by byte."""
        return self.feed(data, [1] * len(data))

    def _piece(self, data: bytes) -> None:
        if data and not self.transport.aborted:
            self.connection.data_received(data)
            self._settle()

    @property
    def complete(self) -> list[tuple[str, str, bytes]]:
        """Method, path and body of every request that came whole and was not refused."""
        return [
            (whole.stream.head.method, whole.stream.head.path, whole.body)
            for whole in self.asked
            if whole.ended and whole.stream.failure is None
        ]

    @property
    def verdict(self) -> tuple[list[tuple[str, str, bytes]], list[str], bool]:
        """All that may not depend on how the bytes were cut."""
        return self.complete, self.refusals, self.transport.closed

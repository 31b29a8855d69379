"""One question to an endpoint on a connection of its own: its answer read within bounds, then the connection closed.

Laws: the deadline holds for all of it, and counts no time in which nobody here could read; no more is read than is
asked for; redirects are answers like any other; every way in which no answer comes is a Failure.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import httptools

from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.wire.http2 import inquiry
from headgate.wire.patience import within
from headgate.wire.pool import not_connected
from headgate.wire.resolver import Resolver
from headgate.wire.settings import ALPN, UpstreamTls
from headgate.wire.tls import client_context

USER_AGENT = "headgate-health"

_PIECE = 16 * 1024
_MAX_HEAD = 64 * 1024
_FRAMING = (b"content-length", b"transfer-encoding")

T = TypeVar("T")
Tls = tuple[ssl.SSLContext, str]


class Answer(NamedTuple):
    """A status, and as many bytes of the body as were asked for."""

    status: int
    body: bytes


def question_http2(method: str, target: str, host: str, scheme: str) -> Fields:
    """Write the same over HTTP/2."""
    return [
        (b":method", method.encode()),
        (b":scheme", scheme.encode()),
        (b":authority", host.encode()),
        (b":path", target.encode()),
        (b"user-agent", USER_AGENT.encode()),
    ]


def question(method: str, target: str, host: str) -> bytes:
    """Write a request that asks how somebody is."""
    fields = f"Host: {host}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nConnection: close"
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode()


def secured(settings: UpstreamTls, host: str, speaks: str) -> Tls:
    """Return how an endpoint at `host` is asked over TLS, with the files as they are now.

    Raises:
        Failure: tls, if a file cannot be used.
    """
    ca, cert, key, verify = settings.ca, settings.cert, settings.key, settings.verify
    try:
        context = client_context(ca=ca, cert=cert, key=key, verify=verify, protocols=ALPN[speaks])
    except ValueError as error:
        raise Failure("tls", str(error)) from None
    return context, settings.server_name or host


class Prober:
    """Asks endpoints, with one table of their addresses."""

    __slots__ = ("_resolver",)

    def __init__(self) -> None:
        self._resolver = Resolver()

    async def connect(self, endpoint: Endpoint, tls: Tls | None, timeout: float) -> None:
        """Open a connection, within `timeout` seconds, and close it.

        Raises:
            Failure: connect_refused, connect_timeout, dns or tls.
        """
        try:
            async with within(timeout):
                _, writer = await self._open(endpoint, tls)
        except TimeoutError:
            raise Failure("connect_timeout", f"no connection within {timeout:g} s") from None
        writer.transport.abort()

    async def ask(self, endpoint: Endpoint, tls: Tls | None, request: bytes, most: int, timeout: float) -> Answer:
        """Send `request` and return the answer with at most `most` bytes of its body, all within `timeout` seconds.

        Raises:
            Failure: those of `connect`, response_timeout, upstream_reset or upstream_protocol.
        """

        async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
            writer.write(request)
            return await _read(reader, most)

        return await self._within(timeout, endpoint, tls, dialogue)

    async def ask_http2(
        self, endpoint: Endpoint, tls: Tls | None, request: tuple[Fields, bytes], most: int, timeout: float
    ) -> inquiry.Answer:
        """Send the fields and the body of `request` over HTTP/2; otherwise as `ask`.

        Raises:
            Failure: those of `ask`.
        """

        async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> inquiry.Answer:
            return await inquiry.inquire(reader, writer, *request, most)

        return await self._within(timeout, endpoint, tls, dialogue)

    async def get(
        self, endpoint: Endpoint, tls: Tls | None, path: str, host: str, speaks: str, most: int, timeout: float
    ) -> Answer:
        """Ask for `path` in what the endpoint speaks (wire.settings.ALPN, which `tls` offers); otherwise as `ask`.

        Raises:
            Failure: those of `ask`.
        """
        fields = question_http2("GET", path, host, endpoint.scheme)

        async def dialogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
            secured = writer.get_extra_info("ssl_object")
            if speaks == "http2" or (secured is not None and secured.selected_alpn_protocol() == "h2"):
                told = await inquiry.inquire(reader, writer, fields, b"", most)
                return Answer(told.status, told.body)
            writer.write(question("GET", path, host))
            return await _read(reader, most)

        return await self._within(timeout, endpoint, tls, dialogue)

    async def _within(
        self,
        timeout: float,
        endpoint: Endpoint,
        tls: Tls | None,
        dialogue: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[T]],
    ) -> T:
        writer: asyncio.StreamWriter | None = None
        try:
            async with within(timeout):
                reader, writer = await self._open(endpoint, tls)
                return await dialogue(reader, writer)
        except TimeoutError:
            if writer is None:
                raise Failure("connect_timeout", f"no connection within {timeout:g} s") from None
            raise Failure("response_timeout", f"no answer within {timeout:g} s") from None
        finally:
            if writer is not None:
                # Nobody waits for what else the endpoint has to say, nor for the end of its TLS.
                writer.transport.abort()

    async def _open(self, endpoint: Endpoint, tls: Tls | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            if endpoint.unix:
                return await asyncio.open_unix_connection(endpoint.unix, limit=_PIECE)
            host = await self._resolver.resolve(endpoint.host)
            context, name = tls if tls is not None else (None, None)
            return await asyncio.open_connection(host, endpoint.port, limit=_PIECE, ssl=context, server_hostname=name)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise not_connected(endpoint, error, tls is not None) from None


class _Parsed:
    """What the parser has found so far of one answer; interim ones before it are passed over."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._framed = False
        self.parser: Any = httptools.HttpResponseParser(self)
        self.status = 0
        self.body = bytearray()
        self.ended = False

    @property
    def is_enough(self) -> bool:
        return self.ended or (self.status > 0 and len(self.body) >= self._most)

    @property
    def is_cut(self) -> bool:
        """Tell whether an end of the connection comes too early here."""
        return not self.status or (self._framed and not self.ended)

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._framed = self._framed or name.lower() in _FRAMING

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200 or status == 101:
            self.status = status

    def on_body(self, data: bytes) -> None:
        self.body += data[: self._most - len(self.body)]

    def on_message_complete(self) -> None:
        self.ended = self.status > 0
        self._framed = self._framed and self.ended


async def _read(reader: asyncio.StreamReader, most: int) -> Answer:
    parsed = _Parsed(most)
    before_status = 0
    while not parsed.is_enough:
        try:
            piece = await reader.read(_PIECE)
        except ConnectionError as error:
            raise Failure("upstream_reset", f"the connection was cut: {error.strerror or error}", sent=True) from None
        if not piece:
            if parsed.is_cut:
                raise Failure("upstream_reset", "the connection was closed before the end of the answer", sent=True)
            break
        before_status += len(piece) if not parsed.status else 0
        try:
            parsed.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            break
        except httptools.HttpParserError as error:
            if not parsed.is_enough:
                raise Failure("upstream_protocol", f"no HTTP answer: {error}", sent=True) from None
        if not parsed.status and before_status > _MAX_HEAD:
            raise Failure("upstream_protocol", f"the head has more than {_MAX_HEAD} bytes", sent=True)
    return Answer(parsed.status, bytes(parsed.body))

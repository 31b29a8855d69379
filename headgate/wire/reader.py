"""The parser of one connection's requests, and what it recorded of the one that is arriving.

A body of known length that does not come with its head is not parsed, only counted.

Law: callbacks of the parser only record. The connection acts after `feed_data` returned without error, since llhttp
may still refuse a message whose head it has announced.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import httptools

from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead
from headgate.wire import http1
from headgate.wire.http1_stream import Http1Stream
from headgate.wire.pace import BodyPace
from headgate.wire.settings import HttpLimits
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.wire.http1_requests import IncomingRequests


class RequestReader:
    """What the parser is told to call; requests whose heads are complete go to the end of `queue`."""

    __slots__ = (
        "_connection",
        "_head_start",
        "_heads",
        "_queue",
        "_url",
        "fields",
        "head_bytes",
        "in_head",
        "pace",
        "parser",
        "raw_left",
        "small",
        "stream",
    )

    def __init__(self, connection: IncomingRequests, queue: deque[Http1Stream]) -> None:
        self._connection: IncomingRequests | None = connection
        self._heads = connection.rules.heads
        self._queue = queue
        # None behind an upgrade that was asked for, and after the end.
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        # The head that is arriving; `small`: it came whole, in so few bytes that no limit needs a look.
        self.in_head = False
        self.small = True
        self.head_bytes = 0
        self._head_start = b""
        self._url = b""
        # Or trailers, behind a head.
        self.fields: Fields = []
        # The request whose body is arriving, and the watch over it unless it came whole.
        self.stream: Http1Stream | None = None
        self.pace: BodyPace | None = None
        # Bytes of that body which are only counted, its length being known, and not parsed.
        self.raw_left = 0

    def renew(self) -> None:
        """Begin with a new message, whatever the parser took the last bytes for."""
        self.parser = httptools.HttpRequestParser(self)

    def close(self) -> None:
        """Break the cycles through the parser's bound methods and the connection: memory goes at once, uncollected."""
        self.parser = None
        self._connection = None

    def count(self, data: bytes) -> int:
        """Pass bytes of a body of known length on unparsed; return how many of `data` belonged to it."""
        stream = self.stream
        assert stream is not None
        size = len(data)
        if size < self.raw_left:
            self.raw_left -= size
            stream.feed(data)
            return size
        size = self.raw_left
        self.raw_left = 0
        self.stream = None
        self.renew()
        stream.feed(data if size == len(data) else data[:size])
        stream.feed_end()
        self.body_ended(stream)
        return size

    # -- callbacks of the parser: record, never act ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that a head began."""
        self.in_head = True
        self.head_bytes = 0
        self._url = b""
        self.fields = []

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; behind the head these are trailers, which land in a list of their own."""
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Make the head; a Failure raised here stops the parser."""
        parser, connection = self.parser, self._connection
        assert parser is not None and connection is not None
        persistent = parser.should_keep_alive()
        fields = self.fields
        head = self._heads.request(parser, self._url, fields, persistent, self.small)
        self.in_head = False
        self.fields = []
        self.pace = None
        self.stream = stream = Http1Stream(connection, head, persistent, connection.started)
        if head.upgrade or parser.should_upgrade():
            stream.trailers = fields
        self._queue.append(stream)

    def on_body(self, data: bytes) -> None:
        """Pass a piece of a body on."""
        assert self.stream is not None
        self.stream.feed(data)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        stream = self.stream
        if stream is None:
            return
        if self.fields:
            # May raise: the request is then still the one that is read, and fails.
            stream.trailers = self._heads.trailers(self.fields)
            self.fields = []
        self.stream = None
        stream.feed_end()
        if self.pace is not None:
            self.body_ended(stream)

    def body_ended(self, stream: Http1Stream) -> None:
        """End the watch over a body; the deadline was its own if its request is the one that is served."""
        self.pace = None
        connection = self._connection
        if connection is not None and stream is connection.stream:
            connection.deadline = NEVER

    # -- what must not be read on ----------------------------------------------------------------------------------

    def outgrown(self, data: bytes, limits: HttpLimits) -> Failure | None:
        """Count `data` of a head that is not complete; return why it can be none, if so."""
        if not self.head_bytes:
            self._head_start = data[:8]
        self.head_bytes += len(data)
        if len(self._url) > limits.max_request_line:
            return Failure("uri_too_long")
        if self._lacks_version(data):
            return Failure("version_not_supported", "0.9")
        if self.head_bytes > limits.max_header_bytes + limits.max_request_line:
            return Failure("headers_too_large")
        return None

    def why_refused(self, error: Exception, data: bytes) -> Failure:
        """Return what was wrong with `data`, which the parser refused with `error`."""
        cause = error.__context__
        start = self._head_start if self.head_bytes else data
        failure = cause if isinstance(cause, Failure) else _judged(error, start)
        if self.in_head and failure.reason == "bad_request" and self._lacks_version(b""):
            return Failure("version_not_supported", "0.9")
        return failure

    def refused_head(self) -> RequestHead:
        """Return what is known of a request whose head cannot be read."""
        # The parser knows the method for certain only when it has gone on to the target.
        parser = self.parser if self._url else None
        method = parser.get_method() if parser is not None else b"-"
        return http1.refused_head(method, self._url, self._heads.scheme)

    def _lacks_version(self, data: bytes) -> bool:
        """Tell whether a line without version came: HTTP/0.9 ends its request there and waits for the answer."""
        version = self.parser.get_http_version() if self.parser is not None else ""
        # The parser notes it with the byte behind the line; before, it has noted nothing yet on a new connection.
        return version == "0.9" or (version == "0.0" and self._url != b"" and data[-1:] == b"\n")


def _judged(error: Exception, start: bytes) -> Failure:
    """Tell what a parser's error means to the client; `start` is how the head began.

    Only what does not depend on how the head was cut into pieces may decide: the parser stops at the first byte
    that makes a method unknown, so what begins like a token is 501, and a TLS handshake is 400.
    """
    if isinstance(error, httptools.HttpParserInvalidMethodError) and http1.safe_name(start.lstrip(b"\r\n")[:1]):
        return Failure("coding_not_implemented", "unknown method")
    # "Pause on PRI/Upgrade": the preface of HTTP/2 (RFC 9113 section 3.4).
    if "HTTP version" in str(error) or "PRI/Upgrade" in str(error):
        return Failure("version_not_supported")
    return Failure("bad_request", str(error))

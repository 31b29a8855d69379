"""A service behind the gateway: it echoes what it saw, keeps it for the test, and obeys headers of the request.

- `X-Stub-Status: 503` is the status it answers.
- `X-Stub-Delay: 1.5` is how many seconds it waits first.
- `X-Stub-Close: head` ends the connection without an answer, `X-Stub-Close: body` in the middle of the body.
- `X-Stub-Type: text/plain` is the Content-Type; `text/event-stream` sends the body in events, one by one.
- `X-Stub-Body: hi` is the body instead of the echo; empty for none.
- `X-Stub-Headers: {"X-One": "1"}` (JSON) are more headers of the answer.

What a test sets in `answer` holds for requests without these headers. A GET of `/health` is answered with `health`, and
is not kept.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.control.driver import CEILING
from tests.control.http_server import HttpServer, QuietHandler


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the service got it; names of headers are in lower case."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    target: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Wanted:
    """What to answer; `body` None is the echo."""

    status: int = 200
    delay: float = 0.0
    close: str = ""
    type: str = "application/json"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Stub:
    """A service at `port` of loopback; no request is answered before `released`. `seen` are those that came."""

    def __init__(self, name: str = "stub", port: int = 0) -> None:
        self.name = name
        self.answer = Wanted()
        self.health = 200
        self.seen: list[Seen] = []
        self.checks = 0
        self.released = threading.Event()
        self.released.set()
        self._server = HttpServer(_handler(self), port=port)
        self.port = self._server.port
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"

    def forget(self) -> None:
        """Be as new."""
        self.answer, self.health, self.checks = Wanted(), 200, 0
        self.seen.clear()
        self.released.set()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Answer nobody meanwhile."""
        self.released.clear()
        try:
            yield
        finally:
            self.released.set()

    def close(self) -> None:
        """Stop; what waits is let go."""
        self.released.set()
        self._server.close()

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _handler(stub: Stub) -> type[QuietHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        # A head and a body are two writes, and the second would wait for the client's word on the first.
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            if self.command == "GET" and parts.path == "/health" and "x-stub-status" not in headers:
                stub.checks += 1
                self._send(Wanted(stub.health, body=b'{"status":"healthy"}'), b'{"status":"healthy"}')
                return
            query = parse_qsl(parts.query, keep_blank_values=True)
            seen = Seen(self.command, parts.path, query, headers, self._read(), self.path)
            stub.seen.append(seen)
            stub.released.wait(CEILING)
            wanted = _wanted(stub.answer, headers)
            if wanted.delay:
                threading.Event().wait(wanted.delay)
            if wanted.close == "head":
                self.close_connection = True
                return
            self._send(wanted, _echo(stub.name, seen) if wanted.body is None else wanted.body)

        def _read(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)

        def _send(self, wanted: Wanted, body: bytes) -> None:
            self.send_response(wanted.status)
            for name, value in wanted.headers.items():
                self.send_header(name, value)
            if wanted.status in (204, 304):
                self.end_headers()
                return
            self.send_header("Content-Type", wanted.type)
            events = wanted.type == "text/event-stream"
            if not events:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "HEAD":
                return
            if wanted.close == "body":
                self.close_connection = True
                body = body[: len(body) // 2]
            for part in body.splitlines(keepends=True) if events else (body,):
                self.wfile.write(part)
                self.wfile.flush()

    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler._serve)
    return Handler


def _wanted(standing: Wanted, headers: dict[str, str]) -> Wanted:
    """Lay what the headers want over what the test set."""
    body = headers.get("x-stub-body")
    return Wanted(
        status=int(headers.get("x-stub-status", standing.status)),
        delay=float(headers.get("x-stub-delay", standing.delay)),
        close=headers.get("x-stub-close", standing.close),
        type=headers.get("x-stub-type", standing.type),
        body=standing.body if body is None else body.encode(),
        headers=json.loads(headers["x-stub-headers"]) if "x-stub-headers" in headers else standing.headers,
    )


def _echo(name: str, seen: Seen) -> bytes:
    told = {
        "stub": name,
        "method": seen.method,
        "path": seen.path,
        "query": seen.query,
        "headers": seen.headers,
        "body": seen.body.decode("utf-8", "replace"),
    }
    return json.dumps(told).encode()

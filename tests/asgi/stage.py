"""The gateway in this process between a scripted ASGI server and upstreams that a test plays by hand.

    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call("/x")
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"hello"))
        assert (await call.answer()).body == b"hello"

Law: the server's side is two queues: what a test says the client sent, and what the application sent. Nothing sleeps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from headgate.asgi.guest import AsgiGateway
from headgate.asgi.serving import serve
from headgate.telemetry.access_log import JsonLines
from headgate.telemetry.cells import SlotRegion, SlotWriter
from tests.proxy.peers import eventually, within
from tests.proxy.stage import resolved


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server was told of one answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    ended: bool


class Call:
    """One request that the server has for the application."""

    def __init__(
        self, gateway: AsgiGateway, scope: dict[str, Any], said: Iterable[dict[str, Any]], by: Any = serve
    ) -> None:
        self.sent: list[dict[str, Any]] = []
        self.asked = 0
        # Clear while the client does not take what is sent.
        self.takes = asyncio.Event()
        self.takes.set()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in said:
            self._said.put_nowait(message)
        self.task = asyncio.create_task(by(gateway, scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        return await self._said.get()

    async def _send(self, message: dict[str, Any]) -> None:
        await self.takes.wait()
        self.sent.append(message)

    def tell(self, message: dict[str, Any]) -> None:
        """Let the server say something."""
        self._said.put_nowait(message)

    def say(self, body: bytes = b"", more: bool = False) -> None:
        """Let the client send a piece of its body."""
        self.tell({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        """Let the client go away."""
        self.tell({"type": "http.disconnect"})

    async def answer(self) -> Answer:
        """Wait until the application returns."""
        await within(self.task)
        return self.so_far

    @property
    def so_far(self) -> Answer:
        """The answer as far as it was sent."""
        start, *rest = self.sent or [{"status": 0, "headers": []}]
        headers: dict[str, str] = {}
        for name, value in start["headers"]:
            text = value.decode("latin-1")
            headers[name.decode()] = f"{headers[name.decode()]}, {text}" if name.decode() in headers else text
        body = b"".join(each["body"] for each in rest)
        return Answer(start["status"], headers, body, bool(rest) and not rest[-1]["more_body"])


class Rig:
    """A gateway at work."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.gateway = AsgiGateway(loop, SlotWriter(SlotRegion.create(1 << 18, 1 << 14)), 0)
        self.log: list[dict[str, Any]] = []
        lines, written = JsonLines(), self.gateway.log

        def log(exchange: Any) -> None:
            self.log.append(json.loads(lines.line(exchange)))
            written(exchange)

        self.gateway.log = log

    def apply(self, document: dict[str, Any]) -> None:
        """Take a configuration."""
        self.gateway.apply(replace(resolved(document), listeners=()), {})

    def call(self, path: str = "/", *headers: tuple[str, str], body: bytes | None = b"", **scope: Any) -> Call:
        """Ask; `body` None says nothing of it yet."""
        said = [] if body is None else [{"type": "http.request", "body": body, "more_body": False}]
        return Call(self.gateway, request(path, *headers, **scope), said)


def request(path: str = "/", *headers: tuple[str, str], **scope: Any) -> dict[str, Any]:
    """Return the scope of a request as uvicorn writes it."""
    target, _, query = path.partition("?")
    base = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "client": ("203.0.113.9", 4711),
        "headers": [(b"host", b"gw.test"), *((name.encode(), value.encode("latin-1")) for name, value in headers)],
    }
    return base | scope


@asynccontextmanager
async def gateway(document: dict[str, Any]) -> AsyncIterator[Rig]:
    """Run a gateway; at the end nothing is in flight, and nothing is waited for."""
    rig = Rig()
    try:
        rig.apply(document)
        rig.gateway.set_ready(True)
        yield rig
        await eventually(lambda: rig.gateway.in_flight == 0)
    finally:
        rig.gateway.abort()

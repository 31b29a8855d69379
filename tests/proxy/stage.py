"""The real gateway in this process between a client and upstreams that a test plays by hand.

    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/x"))
        link = await upstream.accepted()
        request = await link.message()
        await link.send(ok(b"hello"))
        assert (await client.answer()).body == b"hello"

Laws: nothing sleeps to let time pass; every wait is for an event and has a ceiling. Leaving `gateway` proves that the
books are even: nothing in flight, no client connection counted as open, no deadline left filed, nobody's task failed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import pytest
import uvloop

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.resolve import ResolvedConfig
from headgate.core.clock import monotonic
from headgate.proxy.gateway import Gateway
from headgate.telemetry.access_log import JsonLines
from headgate.telemetry.cells import SlotRegion, SlotWriter, read
from tests.proxy.peers import CEILING, Message, Upstream, Wire, eventually, within

ADDRESS = "127.0.0.1:8080"
P = ParamSpec("P")


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on uvloop; a task that failed unseen fails the test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = uvloop.new_event_loop()
        faults: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        try:
            loop.run_until_complete(asyncio.wait_for(test(*args, **kwargs), CEILING * 2))
        finally:
            loop.run_until_complete(_end_tasks())
            loop.close()
        assert not faults, faults

    return run


async def _end_tasks() -> None:
    # Plays of upstreams, whose links were aborted, end by themselves; whatever does not is at fault.
    async with asyncio.timeout(CEILING):
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)
    # What was aborted is closed in the next turns of the loop.
    for _ in range(3):
        await asyncio.sleep(0)


# -- the gateway ---------------------------------------------------------------------------------------------------


def to(*upstreams: Upstream | str, route: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Write a configuration: one service `api` of these upstreams with one route `all`.

    `route` and `service` add to these two; everything else stands at the top level.
    """
    urls = [each if isinstance(each, str) else each.url for each in upstreams]
    routes = [{"name": "all", "match": {"path": "/"}, **(route or {})}]
    service = {"name": "api", "endpoints": urls, "routes": routes, **more.pop("service", {})}
    return {"services": [service], **more}


def resolved(document: dict[str, Any]) -> ResolvedConfig:
    """Load a configuration as the command line does; the access log is off unless the document says otherwise.

    The loop of a test is late whenever the machine has much to do: that is no overload, and nobody who connects is to
    blame for it, unless the document says so.
    """
    base = {"listen": [ADDRESS], "telemetry": {"access_log": {"enabled": False}}, "store": "memory"}
    patient = {"overload": {"lag": 60}, "timeout": {"connect": 60}}
    patient = {name: {**waits, **document.get(name, {})} for name, waits in patient.items()}
    result = load([], environ={}, layers=[Layer("test", json.dumps(base | document | patient))])
    assert result.config is not None, "\n".join(str(problem) for problem in result.problems)
    return result.config


async def _dial(port: int, tls: ssl.SSLContext | None, name: str | None) -> Wire:
    opening = asyncio.open_connection("127.0.0.1", port, limit=1 << 20, ssl=tls, server_hostname=name)
    return Wire(*await within(opening))


# How clients connect: another way where the suite runs for HTTP/2 (conftest).
dial: Callable[[int, ssl.SSLContext | None, str | None], Coroutine[Any, Any, Wire]] = _dial


class Clock:
    """The monotonic clock, and what a test lets pass besides; until then everybody reads the machine's."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._patch = pytest.MonkeyPatch()

    def __call__(self) -> float:
        return monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Go on by so much."""
        self._ahead += seconds
        for name, module in list(sys.modules.items()):
            if name.startswith("headgate.") and getattr(module, "monotonic", None) is monotonic:
                self._patch.setattr(module, "monotonic", self)

    def undo(self) -> None:
        """Give the machine's back."""
        self._patch.undo()


class Rig:
    """A gateway at work."""

    def __init__(self) -> None:
        self.region = SlotRegion.create(1 << 18, 1 << 14)
        self.said: list[str] = []
        self.gateway = Gateway(asyncio.get_running_loop(), SlotWriter(self.region), 0, say=self._say)
        self.told: list[dict[str, Any]] = []
        # Whether control is there, and has time for what is told.
        self.control_listens = True
        self.gateway.tell = self._tell
        self.log: list[dict[str, Any]] = []
        self.sockets: dict[str, list[socket.socket]] = {}
        self.clients: list[Wire] = []
        self.clock = Clock()
        self._lines = JsonLines()
        written = self.gateway.log

        def log(exchange: Any) -> None:
            self.log.append(json.loads(self._lines.line(exchange)))
            written(exchange)

        self.gateway.log = log

    def _say(self, _level: str, message: str, **fields: Any) -> None:
        self.said.append(message)
        if "traceback" in fields:
            print(f"headgate: {message}, request {fields['request_id']}\n{fields['traceback']}", file=sys.stderr)

    def apply(self, document: dict[str, Any]) -> None:
        """Take a configuration; the next ones reload."""
        config = resolved(document)
        given = {listen.address: self.sockets.get(listen.address) or [_bound()] for listen in config.listeners}
        self.gateway.apply(config, given)
        self.sockets = given

    @property
    def connections(self) -> list[Any]:
        """List the connections of clients, as they are inside."""
        return list(self.gateway._listening._connections)

    def pass_time(self, seconds: float) -> None:
        """Let time pass for whoever reads the clock, and every deadline fire that is over then.

        Timers of the loop itself (hedges, pauses) do not notice.
        """
        self.clock.advance(seconds)
        driver = self.gateway._driver
        driver._clock = self.clock
        # It was not held up.
        driver._due += seconds
        self.gateway.wheel.advance(self.clock())

    def port(self, address: str = ADDRESS) -> int:
        """Return the port that stands for a configured address."""
        port: int = self.sockets[address][0].getsockname()[1]
        return port

    async def client(self, address: str = ADDRESS, tls: ssl.SSLContext | None = None, name: str | None = None) -> Wire:
        """Connect; over TLS, ask for `name`."""
        client = await dial(self.port(address), tls, name)
        self.clients.append(client)
        return client

    async def ask(self, request: bytes, method: str = "GET") -> Message:
        """Send one request on a connection of its own and return the answer."""
        client = await self.client()
        await client.send(request)
        answer = await client.answer(method)
        client.close()
        return answer

    async def logged(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many lines of the access log, and see that there are no more."""
        await eventually(lambda: len(self.log) >= count)
        assert len(self.log) == count, self.log
        return self.log

    def _tell(self, message: dict[str, Any]) -> bool:
        if self.control_listens:
            self.told.append(message)
        return self.control_listens

    async def records(self, count: int = 1) -> list[Any]:
        """Wait for so many records of requests, as control is told them, and see that there are no more."""
        await eventually(lambda: self.gateway.in_flight == 0)
        self.gateway.recorder.flush()
        # What travels is JSON.
        said = [json.loads(json.dumps(each)) for each in self.told if each["type"] == "records"]
        found = [record for each in said for record in each["records"]]
        assert len(found) == count, found
        return found

    def counted(self, family: str, **labels: str) -> int:
        """Sum the series of a counter or gauge whose label values include all of these, in any place."""
        wanted = set(labels.values())
        return sum(
            each.values[0]
            for each in read([self.region])
            if each.name.family == f"headgate_{family}" and wanted <= set(each.name.labels)
        )


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def gateway(document: dict[str, Any]) -> AsyncIterator[Rig]:
    """Run a gateway; at the end everything must be even."""
    rig = Rig()
    try:
        rig.apply(document)
        rig.gateway.set_ready(True)
        if "surface" not in document:
            # Control has nothing to say of endpoints in their plain form, and nobody has to wait for that.
            rig.gateway.own.take({}, "")
        await asyncio.sleep(0)
        yield rig
        for client in rig.clients:
            client.close()
        rig.gateway.begin_drain()
        await rig.gateway.stop_accepting()
        rig.gateway.abort()
        await eventually(lambda: rig.gateway.in_flight == 0)
        await eventually(lambda: rig.counted("connections_open") == 0)
        assert rig.counted("requests_in_flight") == 0
        assert rig.counted("requests_total") == (len(rig.log) if rig.gateway.metrics.wanted.enabled else 0)
    finally:
        for client in rig.clients:
            client.writer.transport.abort()
        rig.gateway.abort()
        rig.clock.undo()
        for sockets in rig.sockets.values():
            for each in sockets:
                each.close()

"""The public listeners of a worker and the client connections they brought.

Law: a listener that a reload keeps is not touched, so no connection in its queue is lost; new connections read the
rules of the Plan of that moment, old ones keep theirs.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headgate.config.resolve import ResolvedConfig
from headgate.config.schema import Listen
from headgate.wire.downstream import ClientConnection, Rules
from headgate.wire.head import HeadReader
from headgate.wire.settings import HttpLimits

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway

_FREE_SHARE = 5


class _Listener:
    """One address: its sockets' servers, and the rules for new connections."""

    __slots__ = ("address", "open_cell", "rules", "servers", "settings", "total_cell")

    def __init__(self, settings: Listen, rules: Rules) -> None:
        self.address = settings.address
        self.settings = settings
        self.rules = rules
        self.servers: list[Any] = []
        self.open_cell = 0
        self.total_cell = 0


class Listening:
    """All listeners of this worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listeners: dict[str, _Listener] = {}
        self._connections: set[ClientConnection] = set()
        self._by_address: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # -- plans -----------------------------------------------------------------------------------------------------

    def prepare(self, plan: ResolvedConfig, sockets: dict[str, list[socket.socket]]) -> Callable[[], None]:
        """Make everything ready for a Plan's listeners; the function returned swaps them in and cannot fail.

        Raises:
            ValueError: with a sentence.
        """
        fresh: dict[str, _Listener] = {}
        for settings in plan.listeners:
            fresh[settings.address] = self._make(settings, plan)
        return lambda: self._swap(fresh, sockets)

    def _make(self, settings: Listen, plan: ResolvedConfig) -> _Listener:
        scheme = "https" if settings.tls is not None else "http"
        heads = HeadReader(plan.http, scheme, plan.request_id.headers)
        listener = _Listener(settings, None)  # type: ignore[arg-type]
        metrics = self._gateway.metrics
        listener.open_cell = metrics.gauge("headgate_connections_open", settings.address)
        listener.total_cell = metrics.counter("headgate_connections_total", settings.address)
        listener.rules = Rules(
            plan.http,
            heads,
            self._gateway.wheel,
            self._gateway.handle,
            self._opener(listener, plan.http),
            self._closer(listener),
        )
        return listener

    def _swap(self, fresh: dict[str, _Listener], sockets: dict[str, list[socket.socket]]) -> None:
        for address, listener in list(self._listeners.items()):
            if address not in fresh:
                del self._listeners[address]
                self._start(self._stop(listener))
        for address, listener in fresh.items():
            kept = self._listeners.get(address)
            if kept is not None and kept.settings == listener.settings:
                kept.rules = listener.rules
                continue
            self._listeners[address] = listener
            self._start(self._listen(listener, sockets[address], kept))

    def _start(self, work: Any) -> None:
        task = self._gateway.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, listener: _Listener, sockets: list[socket.socket], kept: _Listener | None) -> None:
        loop = self._gateway.loop
        for each in sockets:
            server = await loop.create_server(lambda: ClientConnection(listener.rules), sock=each, backlog=4096)
            listener.servers.append(server)

    # -- connections -----------------------------------------------------------------------------------------------

    def _opener(self, listener: _Listener, limits: HttpLimits) -> Callable[[ClientConnection], bool]:
        cells, opened, total = self._gateway.metrics.cells, listener.open_cell, listener.total_cell
        connections = self._connections
        most = limits.max_connections or _share_of_files()
        most_of_one = limits.max_connections_per_address
        by_address = self._by_address

        def on_open(connection: ClientConnection) -> bool:
            connections.add(connection)
            connection.stopping = self._gateway.draining
            cells[opened] += 1
            cells[total] += 1
            if most_of_one:
                held = by_address[connection.address] = by_address.get(connection.address, 0) + 1
                if held > most_of_one:
                    return False
            return len(connections) <= most

        return on_open

    def _closer(self, listener: _Listener) -> Callable[[ClientConnection], None]:
        cells, opened = self._gateway.metrics.cells, listener.open_cell
        connections, by_address = self._connections, self._by_address

        def on_close(connection: ClientConnection) -> None:
            if connection in connections:
                connections.discard(connection)
                cells[opened] -= 1
                held = by_address.get(connection.address)
                if held is not None:
                    if held <= 1:
                        del by_address[connection.address]
                    else:
                        by_address[connection.address] = held - 1

        return on_close

    # -- the end ---------------------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Let every connection end with its next answer."""
        for connection in self._connections:
            connection.stopping = True

    async def stop(self) -> None:
        """Accept what is queued, close the listeners, close idle connections."""
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            await self._stop(listener)
        for connection in list(self._connections):
            connection.drain()

    async def _stop(self, listener: _Listener) -> None:
        # The loop takes all that is queued in one round of a ready listening socket; two rounds for the last ones.
        for _ in range(2):
            await asyncio.sleep(0)
        for server in listener.servers:
            server.close()

    def abort(self) -> None:
        """Cut every connection."""
        for listener in self._listeners.values():
            for server in listener.servers:
                server.close()
        for connection in list(self._connections):
            connection.cut()


def _share_of_files() -> int:
    """Return how many clients the file limit allows: four of five, since an answer needs an upstream's socket too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, soft - soft // _FREE_SHARE)

"""The public listeners of a worker and the client connections they brought.

Law: a listener that a reload keeps is not touched, so no connection in its queue is lost; new connections read the
rules of the Plan of that moment, old ones keep theirs, but for the names of fields, which are judged by the last one's.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import select
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from headgate.config.field_kinds import answer_field_kinds, request_field_kinds
from headgate.config.resolve import ResolvedConfig
from headgate.config.schema import Listen, ListenTls
from headgate.core.trace import places_of
from headgate.telemetry.metrics import Metrics
from headgate.wire.downstream import ClientConnection
from headgate.wire.forwarded import TrustPolicy
from headgate.wire.head import HeadReader
from headgate.wire.http1 import FieldKinds
from headgate.wire.proxy_acceptor import ProxyAcceptor, ProxyRules
from headgate.wire.rules import Rules
from headgate.wire.settings import HttpLimits
from headgate.wire.stream import Downstream
from headgate.wire.tls import CertificateFiles, CertificateStore, ListenerTls

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway

_FREE_SHARE = 5
_BACKLOG = 4096


class _Listener:
    """One address: what accepts on it, and the rules for new connections."""

    __slots__ = ("acceptors", "open_cell", "rules", "servers", "settings", "sockets", "store", "total_cell")

    def __init__(self, settings: Listen, store: CertificateStore | None, metrics: Metrics) -> None:
        self.settings = settings
        self.store = store
        self.rules: Rules | None = None
        self.sockets: list[socket.socket] = []
        self.servers: list[asyncio.Server] = []
        self.acceptors: list[ProxyAcceptor] = []
        self.open_cell = metrics.gauge("headgate_connections_open", settings.address)
        self.total_cell = metrics.counter("headgate_connections_total", settings.address)

    def connect(self, client: tuple[str, int] = ("", 0)) -> ClientConnection:
        """Make the protocol of a new connection."""
        assert self.rules is not None
        return ClientConnection(self.rules, client[0])

    def close(self) -> None:
        """Stop accepting."""
        for acceptor in self.acceptors:
            acceptor.close()
        for server in self.servers:
            server.close()
        for each in self.sockets:
            each.close()


class Listening:
    """All listeners of this worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._listeners: dict[str, _Listener] = {}
        self._connections: set[Downstream] = set()
        self._by_address: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- plans -----------------------------------------------------------------------------------------------------

    def prepare(self, plan: ResolvedConfig, sockets: dict[str, list[socket.socket]]) -> Callable[[], None]:
        """Make everything ready for a Plan's listeners; the function returned swaps them in and cannot fail.

        Raises:
            ValueError: with a sentence.
        """
        kinds = request_field_kinds(plan), answer_field_kinds(plan)
        fresh = {settings.address: self._make(settings, plan, kinds) for settings in plan.listeners}

        def swap() -> None:
            self._swap(fresh, sockets)
            # A name that only the gateway may write from now on must not come by an old connection either.
            for heads in {connection.rules.heads for connection in self._connections}:
                heads.judge_by(*kinds)
            for connection in self._connections:
                connection.judge_again()

        return swap

    def _make(self, settings: Listen, plan: ResolvedConfig, kinds: tuple[FieldKinds, FieldKinds]) -> _Listener:
        scheme = "http" if settings.tls is None else "https"
        store = CertificateStore(_tls(settings.tls, settings.http2)) if settings.tls is not None else None
        listener = _Listener(settings, store, self._gateway.metrics)
        gateway = self._gateway
        listener.rules = Rules(
            plan.http,
            HeadReader(plan.http, scheme, *kinds),
            gateway.wheel,
            gateway.outbox,
            gateway.handle,
            self._opener(listener, plan.http),
            self._closer(listener),
            self._switch,
            gateway.metrics.violated,
            settings.http2,
        )
        return listener

    def _swap(self, fresh: dict[str, _Listener], sockets: dict[str, list[socket.socket]]) -> None:
        self._let_go_of_certificates(fresh)
        for address in [address for address in self._listeners if address not in fresh]:
            self._start(self._stop(self._listeners.pop(address)))
        for address, listener in fresh.items():
            kept = self._listeners.get(address)
            if kept is not None and kept.settings == listener.settings:
                kept.rules = listener.rules
                if kept.store is not None and kept.settings.tls is not None:
                    # Loaded once already a moment ago, so this cannot fail for any other reason than a race.
                    with contextlib.suppress(ValueError):
                        kept.store.replace(_tls(kept.settings.tls, kept.settings.http2))
                continue
            self._listeners[address] = listener
            listener.sockets = sockets[address]
            self._start(self._listen(listener, kept))

    def _let_go_of_certificates(self, fresh: dict[str, _Listener]) -> None:
        """Have connections end with their next answer where other authorities say now who clients are."""
        before = [(each.store, fresh[address].store) for address, each in self._listeners.items() if address in fresh]
        if any(old is not None and old.authorities != (new.authorities if new else b"") for old, new in before):
            for connection in self._connections:
                if connection.rules.heads.scheme == "https":
                    connection.stopping = True

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._gateway.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"headgate: a listener does not work: {places_of(error)}", file=sys.stderr, flush=True)

    async def _listen(self, listener: _Listener, kept: _Listener | None) -> None:
        if kept is not None:
            kept.sockets = []
            kept.close()
        for each in listener.sockets:
            if listener.settings.proxy_protocol:
                listener.acceptors.append(self._accept(listener, each))
            else:
                listener.servers.append(await self._serve(listener, each))

    async def _serve(self, listener: _Listener, each: socket.socket) -> asyncio.Server:
        tls = listener.settings.tls
        # The server closes its socket, and the one given may go on to a successor with other settings.
        own = each.dup()
        try:
            return await self._gateway.loop.create_server(
                listener.connect,
                sock=own,
                backlog=_BACKLOG,
                ssl=listener.store.context if listener.store is not None else None,
                ssl_handshake_timeout=tls.handshake_timeout if tls is not None else None,
            )
        except BaseException:
            own.close()
            raise

    def _accept(self, listener: _Listener, each: socket.socket) -> ProxyAcceptor:
        settings, store = listener.settings, listener.store
        rules = ProxyRules(
            TrustPolicy(settings.proxy_protocol),
            (lambda: store.context) if store is not None else None,
            handshake_timeout=settings.tls.handshake_timeout if settings.tls is not None else 10.0,
        )
        # It closes no listening socket: a duplicate would go on listening with nobody to accept.
        return ProxyAcceptor(self._gateway.loop, each, listener.connect, rules, self._gateway.wheel)

    # -- connections -----------------------------------------------------------------------------------------------

    def _opener(self, listener: _Listener, limits: HttpLimits) -> Callable[[Downstream], bool]:
        metrics, opened, total = self._gateway.metrics, listener.open_cell, listener.total_cell
        cells = metrics.cells
        connections = self._connections
        most = limits.max_connections or _share_of_files()
        most_of_one = limits.max_connections_per_address
        by_address = self._by_address

        def on_open(connection: Downstream) -> bool:
            connections.add(connection)
            connection.stopping = self._gateway.draining
            cells[opened] += 1
            cells[total] += 1
            held = 0
            if most_of_one:
                held = by_address[connection.address] = by_address.get(connection.address, 0) + 1
            if held > most_of_one or len(connections) > most:
                # No request, so no line in the access log and no other trace.
                metrics.error("overloaded")
                return False
            return True

        return on_open

    def _closer(self, listener: _Listener) -> Callable[[Downstream], None]:
        cells, opened = self._gateway.metrics.cells, listener.open_cell
        connections, by_address = self._connections, self._by_address

        def on_close(connection: Downstream) -> None:
            if connection in connections:
                connections.discard(connection)
                cells[opened] -= 1
                held = by_address.get(connection.address)
                if held is not None:
                    if held <= 1:
                        del by_address[connection.address]
                    else:
                        by_address[connection.address] = held - 1
                if not connections:
                    self._gateway.settle()

        return on_close

    def _switch(self, before: Downstream, after: Downstream) -> None:
        """Count the one connection by its other name."""
        self._connections.discard(before)
        self._connections.add(after)

    # -- the end ---------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> int:
        """Count the client connections that are open."""
        return len(self._connections)

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
        # libuv accepts one connection in each turn of the loop (since 1.45).
        for _ in range(_BACKLOG):
            if not any(_has_queue(each) for each in listener.sockets):
                break
            await asyncio.sleep(0)
        # The last one accepted still has to become a connection of ours.
        for _ in range(2):
            await asyncio.sleep(0)
        listener.close()

    def abort(self) -> None:
        """End every connection; those that are owed an answer see it cut."""
        for listener in self._listeners.values():
            listener.close()
        for connection in list(self._connections):
            connection.end()


def _has_queue(listening: socket.socket) -> bool:
    """Tell whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))


def _tls(settings: ListenTls, http2: bool) -> ListenerTls:
    """Return the wire's view of a listener's TLS settings; cert and key are the short form of a first certificate."""
    files = [CertificateFiles(each.cert, each.key) for each in settings.certificates]
    if settings.cert is not None and settings.key is not None:
        files.insert(0, CertificateFiles(settings.cert, settings.key))
    return ListenerTls(
        tuple(files),
        settings.client_ca,
        client_auth=settings.client_auth,
        min_version=settings.min_version,
        strict_sni=settings.strict_sni,
        alpn=("h2", "http/1.1") if http2 else ("http/1.1",),
    )


def _share_of_files() -> int:
    """Return how many clients the file limit allows: four of five, since an answer needs an upstream's socket too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, soft - soft // _FREE_SHARE)

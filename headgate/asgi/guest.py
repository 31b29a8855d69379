"""A process of a server as a worker of the one gateway of that server.

    away -> joined: a seat, a worker of control in this process's own loop -> serving, once a plan is in force
    the link ends -> serving on with the last plan, while it joins anew -> the next worker serves, this one ends

Laws: a companion that dies takes nothing down: requests in flight and new ones go on, with the memory that is left;
those for control wait for the next one. What that counts begins afresh. Signals, the loop and its end are the server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import time
from collections.abc import Callable
from typing import Any

from headgate.asgi.head import Scope, head_of
from headgate.asgi.joining import Joining, NotJoined
from headgate.asgi.stream import AsgiClient
from headgate.config.field_kinds import answer_field_kinds, request_field_kinds
from headgate.config.resolve import OWN_SERVICE, ResolvedConfig
from headgate.control.children import Seat
from headgate.control.link import Link
from headgate.control.log import Log
from headgate.control.worker import Worker
from headgate.core.failure import Failure
from headgate.core.trace import places_of
from headgate.proxy.gateway import Gateway
from headgate.wire.head import HeadReader
from headgate.wire.rules import Rules

# Seconds.
_FIRST_PLAN = 60.0
_SHORTEST_RETRY = 0.2
_LONGEST_RETRY = 10.0
# Longer than the companion gives control.
_FAREWELL = 10.0
# In which a companion has been started, and has a plan.
_SUCCESSION = 30.0
_MOST_CLIENTS = 4096


class AsgiGateway(Gateway):
    """The data plane of one worker, without listeners.

    `rules` are those of requests over HTTP and over HTTPS; `farewell` are the seconds for what is in flight at the end.
    """

    rules: tuple[Rules, Rules]
    _clients: tuple[dict[str, AsgiClient], dict[str, AsgiClient]]
    farewell = 0.0

    def apply(self, plan: ResolvedConfig, sockets: dict[str, Any]) -> None:
        """Build all of a new Plan, then swap.

        Raises:
            ValueError: with a sentence; everything stays as it was.
        """
        kinds = request_field_kinds(plan), answer_field_kinds(plan)
        plain, secure = (self._rules(HeadReader(plan.http, scheme, *kinds), plan) for scheme in ("http", "https"))
        super().apply(plan, sockets)
        self.rules = plain, secure
        self._clients = {}, {}
        self.farewell = plan.shutdown.timeout

    def client(self, address: str, secure: bool) -> AsgiClient:
        """Return who asks from an address: the same as last time, so that what is known of its way is known again."""
        known = self._clients[secure]
        client = known.get(address)
        if client is None:
            if len(known) >= _MOST_CLIENTS:
                known.clear()
            client = known[address] = AsgiClient(self.rules[secure], address)
        return client

    def asks_control(self, scope: Scope) -> bool:
        """Tell whether control would be asked for the answer to this request."""
        plan = self.plan
        assert plan is not None
        try:
            head = head_of(self.rules[0].heads, scope)
            plan.read_own(head)
            asked = plan.route(head).payload.only
        except Failure:
            return False
        return asked is not None and asked.name == OWN_SERVICE

    def _rules(self, heads: HeadReader, plan: ResolvedConfig) -> Rules:
        # Connections are the server's: nobody here hears of one that opens or closes.
        return Rules(
            plan.http,
            heads,
            self.wheel,
            self.outbox,
            self.handle,
            lambda _: True,
            lambda _: None,
            lambda *_: None,
            lambda _: None,
            False,
        )


class GuestWorker(Worker):
    """A worker whose process belongs to somebody else. `gone` is called when the companion has ended."""

    def __init__(self, seat: Seat, loop: asyncio.AbstractEventLoop, gone: Callable[[], None]) -> None:
        say = Log(f"worker-{seat.number}")
        self.gateway: AsgiGateway

        def make(loop: asyncio.AbstractEventLoop, slot: Any, number: int) -> AsgiGateway:
            self.gateway = AsgiGateway(loop, slot, worker=number, board=seat.board, say=say)
            return self.gateway

        super().__init__(seat, make, loop)
        self._gone = gone
        self.link = seat.link
        self.life = loop.create_task(self.run())

    async def serves(self) -> bool:
        """Wait for the first plan; tell whether it came into force."""
        first = asyncio.ensure_future(self._first_plan.wait())
        try:
            await asyncio.wait([first, self.life], timeout=_FIRST_PLAN, return_when=asyncio.FIRST_COMPLETED)
        finally:
            first.cancel()
        return self._first_plan.is_set()

    async def finish(self) -> None:
        """End, when what is in flight has been answered or has had its time."""
        self._loop.remove_reader(self.link.fileno())
        if not self.life.done():
            self.gateway.begin_drain()
            await self.gateway.wait_idle(self.gateway.farewell)
        self.abandon()
        await self.life

    def abandon(self) -> None:
        """End at once."""
        self._end(1)

    def _master_gone(self) -> None:
        self._gone()

    def _on_master(self, message: dict[str, Any], sockets: list[Any]) -> None:
        # When to end is the server's word, not a master's.
        if message["type"] == "reopen":
            super()._on_master(message, sockets)


class Guest:
    """This process's membership, from `start` to `stop`."""

    def __init__(self, joining: Joining) -> None:
        self._joining = joining
        self._log = Log(f"asgi-{os.getpid()}")
        self._worker: GuestWorker | None = None
        self._rejoins: asyncio.Task[None] | None = None
        self._is_server = False
        self._stopping = False
        # Clear while there is no companion.
        self._in_company = asyncio.Event()
        self._in_company.set()

    @property
    def gateway(self) -> AsgiGateway:
        """The data plane of now."""
        assert self._worker is not None
        return self._worker.gateway

    @property
    def is_alone(self) -> bool:
        """Tell whether its companion has ended, and the next one is not there yet."""
        return not self._in_company.is_set()

    async def company_for(self, scope: Scope) -> None:
        """Wait for the next companion if it is control that has to answer this request, but not for ever."""
        if self.gateway.asks_control(scope):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._in_company.wait(), _SUCCESSION)

    async def start(self) -> None:
        """Join, and wait until there is something to serve by.

        Raises:
            NotJoined: with a sentence.
        """
        try:
            self._worker = await self._join()
        except NotJoined:
            self._joining.forget()
            raise

    async def stop(self) -> None:
        """Leave; whoever is the server waits until the companion has ended, and what it had bound is free."""
        self._stopping = True
        if self._rejoins is not None:
            self._rejoins.cancel()
        worker, self._worker = self._worker, None
        if worker is None:
            return
        await worker.finish()
        if self._is_server:
            await asyncio.to_thread(_wait_for_end, worker.link)
        worker.link.close()
        self._joining.reap()

    async def _join(self) -> GuestWorker:
        seat, self._is_server = await asyncio.to_thread(self._joining.join)
        worker = GuestWorker(seat, asyncio.get_running_loop(), lambda: self._on_gone(worker))
        if not await worker.serves():
            await worker.finish()
            seat.link.close()
            raise NotJoined("the gateway did not start: see above for why")
        return worker

    def _on_gone(self, worker: GuestWorker) -> None:
        if worker is self._worker and not self._stopping:
            self._log("error", "the companion of this server has ended; serving on, and joining anew")
            self._in_company.clear()
            self._rejoins = asyncio.get_running_loop().create_task(self._rejoin(worker))
        elif worker is not self._worker:
            worker.abandon()

    async def _rejoin(self, before: GuestWorker) -> None:
        retry = _SHORTEST_RETRY
        while True:
            try:
                self._worker = await self._join()
                break
            except NotJoined as error:
                self._log("error", str(error), retry_in=retry)
            except Exception as error:
                self._log("error", "joining failed in an unforeseen way", traceback=places_of(error), retry_in=retry)
            await asyncio.sleep(retry)
            retry = min(retry * 2, _LONGEST_RETRY)
        self._in_company.set()
        self._log("info", "joined anew")
        await before.finish()
        before.link.close()


def _wait_for_end(link: Link) -> None:
    """Tell the companion to end, and read the link to its end."""
    if link.send({"type": "end"}):
        until = time.monotonic() + _FAREWELL
        while (left := until - time.monotonic()) > 0:
            if select.select([link], [], [], left)[0] and link.receive() is None:
                return

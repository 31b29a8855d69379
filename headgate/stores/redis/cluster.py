"""Which server: that of the Cluster whose slots hold the key.

Laws (Redis Cluster specification, "MOVED redirection", "ASK redirection"):
- A key's slot is the CRC16 of its hash tag modulo 16384; the map of slots is learned from any node.
- MOVED changes the map at once and makes it doubtful; what is doubtful is learned anew, at most once in REFRESH seconds
  and by one question at a time. ASK changes nothing.
- Each master is one Node; one that the map no longer names is let go of.
"""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from headgate.stores.redis.address import Server
from headgate.stores.redis.connection import Link
from headgate.stores.redis.dial import Dialer, Unusable
from headgate.stores.redis.node import FAILURES, Node, Pause, Watch, in_words

SLOTS: Final = 16384
REFRESH: Final = 1.0
# A hash tag in one of N equal shares of the slots is found after N tries, so nearly always.
_MOST_TRIES: Final = 2_000
_MOST_NODES: Final = 1000


class Cluster:
    """The nodes that are masters, and which slots each has."""

    __slots__ = (
        "_chance", "_dialer", "_doubtful", "_loop", "_nodes", "_reason", "_seeds", "_slots", "_task", "_trial_key",
        "_watch", "proven", "spread",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dialer: Dialer,
        seeds: Sequence[Server],
        trial_key: Callable[[bytes], bytes],
        watch: Watch,
        chance: Random,
    ) -> None:
        """Learn the map from `seeds`; `trial_key` makes the key of a trial out of a hash tag."""
        self.spread = True
        self._loop = loop
        self._dialer = dialer
        self._seeds = list(seeds)
        self._trial_key = trial_key
        self._watch = watch
        self._chance = chance
        self._slots: list[Node | None] = [None] * SLOTS
        self._nodes: dict[tuple[str, int], Node] = {}
        self._reason = "the cluster is not known yet"
        self._doubtful = asyncio.Event()
        self._doubtful.set()
        self.proven: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._keep_learning())

    def link(self, tag: bytes) -> Link | None:
        """Return the connection to the node that has this hash tag's slot."""
        node = self._slots[crc_hqx(tag, 0) % SLOTS]
        return None if node is None else node.link

    def redirected(self, words: Sequence[str]) -> tuple[Link | None, bool] | None:
        """Follow `MOVED SLOT HOST:PORT` or `ASK SLOT HOST:PORT`."""
        try:
            kind, slot, address = words
            host, _, port = address.rpartition(":")
            place = int(slot)
            node = self._node(host.strip("[]"), int(port))
        except ValueError:
            return None
        if node is None or not 0 <= place < SLOTS:
            return None
        if kind == "MOVED":
            self._slots[place] = node
            self.doubt()
        return node.link, kind == "ASK"

    def doubt(self) -> None:
        """Learn the map anew soon."""
        self._doubtful.set()

    @property
    def away(self) -> str:
        """Return why there is no connection."""
        return next((node.away for node in self._nodes.values() if node.link is None), self._reason)

    def close(self) -> None:
        """Let go of all nodes."""
        self._task.cancel()
        for node in self._nodes.values():
            node.close()
        self._is_proven()

    def _is_proven(self) -> None:
        if not self.proven.done():
            self.proven.set_result(None)

    def __repr__(self) -> str:
        return f"<Cluster {list(self._nodes.values())}>"

    # -- the map --------------------------------------------------------------------------------------------------

    async def _tried(self) -> None:
        await asyncio.gather(*(asyncio.shield(node.proven) for node in self._nodes.values()))

    async def _keep_learning(self) -> None:
        pause = Pause(self._chance)
        while True:
            await self._doubtful.wait()
            self._doubtful.clear()
            try:
                await self._learn()
            except Exception as error:
                # Whatever it is, it is said, and tried again.
                self._reason = in_words(error)
                if not self._nodes:
                    self._watch.fails(None, self._reason)
                self._doubtful.set()
                wait = pause.next()
            else:
                pause.reset()
                wait = REFRESH
            self._is_proven()
            await asyncio.sleep(wait)
            if None in self._slots or any(node.link is None for node in self._nodes.values()):
                # What cannot be reached may have been replaced.
                self._doubtful.set()

    async def _learn(self) -> None:
        """Ask one node after the other for the map.

        Raises:
            Unusable: if none tells it.
        """
        reasons = []
        known = [self._seeds[0].at(host, port) for host, port in self._nodes]
        self._chance.shuffle(known)
        for server in [*known, *(seed for seed in self._seeds if seed not in known)]:
            try:
                answer = await self._dialer.ask(server, "CLUSTER", "SLOTS")
                ranges = _read(answer, server.host)
            except FAILURES as error:
                reasons.append(f"{server.name}: {in_words(error)}")
            else:
                return await self._take(ranges)
        raise Unusable("; ".join(reasons))

    async def _take(self, ranges: list[tuple[int, int, str, int]]) -> None:
        """Put a map into force; let go of who is no longer in it when those who are were tried."""
        slots: list[Node | None] = [None] * SLOTS
        for first, last, host, port in ranges:
            slots[first : last + 1] = [self._node(host, port)] * (last + 1 - first)
        self._slots = slots
        await self._tried()
        named = {(host, port) for _, _, host, port in ranges}
        for address in self._nodes.keys() - named:
            node = self._nodes.pop(address)
            node.close()
            self._watch.works(node)
        if None in slots:
            self._reason = "some slots of the cluster have no master"
            self._watch.fails(None, self._reason)
        else:
            self._watch.works(None)

    def _node(self, host: str, port: int) -> Node | None:
        """Return the node at an address, a new one if need be; None when there are too many."""
        # No host means the one that was asked.
        host = host or self._seeds[0].host
        node = self._nodes.get((host, port))
        if node is None and len(self._nodes) < _MOST_NODES:
            server = self._seeds[0].at(host, port)
            node = Node(server.name, self._loop, partial(self._open, server), self._watch, self._chance)
            self._nodes[(host, port)] = node
        return node

    def _open(self, server: Server, on_lost: Callable[[str, int], None]) -> Awaitable[Link]:
        return self._dialer.open(server, partial(self._trial_of, server), on_lost, master=False)

    def _trial_of(self, server: Server) -> bytes:
        """Return a key of which this server has the slot, so that the trial is counted there."""
        node = self._nodes.get((server.host, server.port))
        for number in range(_MOST_TRIES):
            tag = b"trial-%d" % number
            if self._slots[crc_hqx(tag, 0) % SLOTS] is node:
                return self._trial_key(tag)
        return self._trial_key(b"trial")


def _read(answer: Any, asked: str) -> list[tuple[int, int, str, int]]:
    """Read the reply to CLUSTER SLOTS: first slot, last slot, host and port of the master.

    Raises:
        ValueError: if it is no such reply, or empty.
    """
    try:
        ranges = [
            (int(first), int(last), (host or b"").decode() or asked, int(port))
            for first, last, (host, port, *_), *_ in answer
        ]
    except (TypeError, AttributeError) as error:
        raise ValueError("the reply to CLUSTER SLOTS is malformed") from error
    if not ranges or not all(0 <= first <= last < SLOTS for first, last, _, _ in ranges):
        raise ValueError("it knows no slots of the cluster")
    return ranges

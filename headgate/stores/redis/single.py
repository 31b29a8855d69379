"""Which server: one, by its URL or as the sentinels say.

Law: sentinels are asked anew before every connection, so a failover is followed by losing the old master, whether its
connection broke or it answered READONLY; what they name must itself say that it is the master.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from headgate.stores.redis.address import Server
from headgate.stores.redis.connection import Link
from headgate.stores.redis.dial import Dialer, Unusable
from headgate.stores.redis.node import FAILURES, Node, Open, Watch, in_words


class Topology(Protocol):
    """Which connection has a key."""

    spread: bool
    """Whether keys lie on different servers, so that a call has one key only."""

    proven: asyncio.Future[None]
    """Done when the first attempts to connect have ended, well or not."""

    def link(self, tag: bytes) -> Link | None:
        """Return the connection for a key with this hash tag; None while there is none."""

    def redirected(self, words: Sequence[str]) -> tuple[Link | None, bool] | None:
        """Return where a server sends us by MOVED or ASK, and whether to say ASKING; None if that is not done here."""

    def doubt(self) -> None:
        """Know that a server answered with an error: what is known of the others may be old."""

    @property
    def away(self) -> str:
        """Return why there is no connection."""

    def close(self) -> None:
        """Let go of all connections."""


class Single:
    """All keys on one server at a time."""

    __slots__ = ("_node", "proven", "spread")

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, opening: Open, watch: Watch, chance: Random) -> None:
        self.spread = False
        self._node = Node(name, loop, opening, watch, chance)
        self.proven = self._node.proven

    def link(self, tag: bytes) -> Link | None:
        """Return the one connection."""
        return self._node.link

    def redirected(self, words: Sequence[str]) -> tuple[Link | None, bool] | None:
        """Go nowhere else."""
        return None

    def doubt(self) -> None:
        """Know nothing of others."""

    @property
    def away(self) -> str:
        """Return why there is no connection."""
        return self._node.away

    def close(self) -> None:
        """Let go."""
        self._node.close()

    def __repr__(self) -> str:
        return repr(self._node)


class ByUrl:
    """Opens connections to the one server there is."""

    __slots__ = ("_dialer", "_server", "_trial_key")

    def __init__(self, dialer: Dialer, server: Server, trial_key: Callable[[], bytes]) -> None:
        self._dialer = dialer
        self._server = server
        self._trial_key = trial_key

    async def __call__(self, on_lost: Callable[[str, int], None]) -> Link:
        """Open one."""
        return await self._dialer.open(self._server, self._trial_key, on_lost, master=False)


class BySentinel:
    """Opens connections to the master that the sentinels know."""

    __slots__ = ("_dialer", "_master", "_name", "_sentinels", "_trial_key")

    def __init__(
        self, dialer: Dialer, sentinels: Sequence[Server], name: str, master: Server, trial_key: Callable[[], bytes]
    ) -> None:
        """`master` has everything but the address: who we are there, the database, TLS or not."""
        self._dialer = dialer
        self._sentinels = list(sentinels)
        self._name = name
        self._master = master
        self._trial_key = trial_key

    async def __call__(self, on_lost: Callable[[str, int], None]) -> Link:
        """Ask one sentinel after the other, first the one that answered last.

        Raises:
            Unusable: if none knows a master, or it is none.
        """
        reasons = []
        for sentinel in list(self._sentinels):
            try:
                answer = await self._dialer.ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
                if answer is None:
                    raise Unusable(f"it knows no master of the name {self._name}")
                host, port = answer
                master = self._master.at(host.decode(), int(port))
            except (*FAILURES, TypeError, AttributeError) as error:
                reasons.append(f"sentinel {sentinel.name}: {in_words(error)}")
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            try:
                return await self._dialer.open(master, self._trial_key, on_lost, master=True)
            except FAILURES as error:
                raise Unusable(f"{master.name}: {in_words(error)}") from None
        raise Unusable("; ".join(reasons))

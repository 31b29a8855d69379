"""Opening a connection: TCP, TLS, AUTH, SELECT, CLIENT SETNAME, the script, and a trial count that proves it can count.

Laws: a connection that was not proven is never used; a server that answers but cannot count (read-only, loading, out
of memory, no permission) is as good as away; no password reaches a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from hiredis import ReplyError

from headgate.stores.redis.address import Server
from headgate.stores.redis.connection import Link
from headgate.stores.redis.script import SCRIPT, Script
from headgate.stores.settings import RedisTls
from headgate.wire.patience import within
from headgate.wire.tls import client_context

CLIENT_NAME = "headgate"


class Unusable(Exception):
    """The server answers, and cannot be used; the message says why."""


class Reach(Protocol):
    """The settings of a store that say how to reach its servers."""

    @property
    def timeout(self) -> float:
        """Seconds that a reply may take."""

    @property
    def connect_timeout(self) -> float:
        """Seconds that it may take to connect."""

    @property
    def tls(self) -> RedisTls:
        """TLS, for rediss:// URLs."""


class Dialer:
    """How servers are reached; the same for all of a store."""

    __slots__ = ("_loop", "_script", "_settings")

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Reach, script: Script = SCRIPT) -> None:
        """`script` is what the store calls; it has an operation `trial` that writes, with one key."""
        self._loop = loop
        self._settings = settings
        self._script = script

    async def open(
        self, server: Server, trial_key: Callable[[], bytes], on_lost: Callable[[str, int], None], *, master: bool
    ) -> Link:
        """Return a connection that was proven by a count under `trial_key`; with `master` the server must be one.

        Raises:
            Unusable: if the server answers and cannot be used.
            OSError, TimeoutError, ssl.SSLError, ValueError: if it cannot be reached.
        """
        async with within(self._settings.connect_timeout):
            link = await self._connect(server)
            try:
                await self._introduce(link, server)
                if master:
                    await self._be_sure_of_master(link)
                await link.call("SCRIPT", "LOAD", self._script.text)
                await self._count_once(link, trial_key())
            except ReplyError as error:
                link.end("it cannot be used")
                raise Unusable(str(error)) from None
            except BaseException:
                link.end("it was not opened")
                raise
        link.watch(self._settings.timeout, on_lost)
        return link

    async def ask(self, server: Server, *words: str) -> Any:
        """Open a connection, ask one thing, close it.

        Raises:
            Unusable: if the server answers with an error.
            OSError, TimeoutError, ssl.SSLError, ValueError: if it cannot be reached.
        """
        async with within(self._settings.connect_timeout):
            link = await self._connect(server)
            try:
                await self._introduce(link, server)
                return await link.call(*words)
            except ReplyError as error:
                raise Unusable(str(error)) from None
            finally:
                link.end("it was asked")

    async def _connect(self, server: Server) -> Link:
        context = None
        if server.tls:
            tls = self._settings.tls
            context = client_context(verify=tls.verify, ca=tls.ca, cert=tls.cert, key=tls.key, protocols=())
        _, link = await self._loop.create_connection(
            lambda: Link(self._loop, self._settings.connect_timeout),
            server.host,
            server.port,
            ssl=context,
            server_hostname=server.host if server.tls else None,
        )
        return link

    async def _introduce(self, link: Link, server: Server) -> None:
        if server.password:
            await link.call("AUTH", *([server.username] if server.username else []), server.password)
        if server.database:
            await link.call("SELECT", server.database)
        try:
            await link.call("CLIENT", "SETNAME", CLIENT_NAME)
        except ReplyError:
            # A courtesy to whoever looks at CLIENT LIST; a Sentinel or a narrow ACL may not know it.
            pass

    async def _be_sure_of_master(self, link: Link) -> None:
        role = await link.call("ROLE")
        if not isinstance(role, list) or not role or role[0] != b"master":
            raise Unusable("it is not the master, or not any more")

    async def _count_once(self, link: Link, key: bytes) -> None:
        try:
            await link.call("EVALSHA", self._script.sha, 1, key, "trial")
        except ReplyError as error:
            # The slot moved on meanwhile: the server is alive and knows its cluster.
            if not str(error).startswith(("MOVED ", "ASK ")):
                raise

"""All ways of one worker: made from `identity`, kept over reloads as long as their settings stay.

Laws: what is known of credentials lives as long as the settings it was found out by; new keys of an issuer make what
was found out with the old ones void. Asking control for keys is bounded: one question an issuer under way, and none
for a while after one that brought nothing new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from headgate.auth.method import Known, NeedCall, Refused
from headgate.auth.settings import IdentitySettings
from headgate.config.resolve import ResolvedConfig
from headgate.core.failure import Failure
from headgate.core.identity import Identity
from headgate.core.message import Fields
from headgate.core.steps import Reply
from headgate.proxy.authentication import UNAVAILABLE, Outside, Way
from headgate.proxy.methods import Given, build_methods

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway

# Password hashes at work or waiting, in one worker: each takes some 50 ms of a core.
_MOST_WORK = 32
_THREADS = 2
# How long control may take to answer beyond the fetch itself.
_PATIENCE = 1.0


class Ways:
    """The ways of one `identity`, by the names that a route lets count."""

    def __init__(self, identity: IdentitySettings, outside: Outside, given: Given) -> None:
        self.identity = identity
        self._outside = outside
        self._given = given
        self._made: dict[tuple[str, ...], tuple[Way, ...]] = {}

    def of(self, names: list[str]) -> tuple[Way, ...]:
        """Return the ways of these names, in the order of `identity.order`; all, when there are none.

        Raises:
            ValueError: with a sentence, when one cannot be made.
        """
        key = tuple(sorted(names))
        if key not in self._made:
            methods = build_methods(self.identity, key, self._given)
            self._made[key] = tuple(
                Way(method, self.identity.cache, self._outside, _settle, _never_changes) for method in methods
            )
        return self._made[key]

    def forget(self, kind: str) -> None:
        """Make void what the ways of a kind have found out."""
        for ways in self._made.values():
            for way in ways:
                if way.method.kind == kind:
                    way.forget()


def _settle(identity: Identity) -> tuple[Identity, Fields]:
    return identity._replace(tier=identity.tier or identity.kind), []


def _never_changes() -> int:
    return 0


class Authentication:
    """What ways need in one worker, and the ways in force."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ways: Ways | None = None
        self._rings: dict[str, Any] = {}
        self._asked: dict[str, list[Reply[bool]]] = {}
        self._quiet_until: dict[str, float] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._at_work = 0

    def prepare(self, config: ResolvedConfig) -> Ways:
        """Return the ways of a configuration: those in force, if nothing about them changes.

        Raises:
            ValueError: with a sentence, when one cannot be made.
        """
        if self._ways is not None and self._ways.identity == config.identity:
            return self._ways
        outside = Outside(self._keys, self._call, self._work)
        return Ways(config.identity, outside, Given(self._rings, lambda digest: None, b""))

    def use(self, ways: Ways) -> None:
        """Put ways into force."""
        self._ways = ways

    # -- keys of issuers -------------------------------------------------------------------------------------------

    def take_key_sets(self, sets: Mapping[str, bytes]) -> None:
        """Use these keys from now on, and tell whoever waits for some."""
        for waiting in (self._asked.pop(issuer, []) for issuer in list(self._asked)):
            for reply in waiting:
                reply.set(True)

    def _keys(self, issuer: str) -> Reply[bool]:
        reply: Reply[bool] = Reply()
        reply.set(False)
        return reply

    # -- other servers ---------------------------------------------------------------------------------------------

    async def _call(self, name: str, need: NeedCall) -> Known | Refused:
        raise Failure("internal", f"{name} cannot be asked")

    # -- slow work -------------------------------------------------------------------------------------------------

    def _work(self, work: Callable[[], Known | Refused]) -> Reply[Known | Refused]:
        reply: Reply[Known | Refused] = Reply()
        if self._at_work >= _MOST_WORK:
            reply.set(Refused(UNAVAILABLE, "too many passwords are being checked"))
            return reply
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._at_work += 1
        future = self._gateway.loop.run_in_executor(self._threads, work)
        future.add_done_callback(lambda done: self._worked(done, reply))
        return reply

    def _worked(self, done: asyncio.Future[Known | Refused], reply: Reply[Known | Refused]) -> None:
        self._at_work -= 1
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            reply.fail(error if isinstance(error, Exception) else Failure("internal", "given up"))
        else:
            reply.set(done.result())

    def close(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

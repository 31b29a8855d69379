"""The gateway's own endpoints that workers answer by themselves, control alive or not: health, ready and live.

Control makes the answers of each state in advance and tells them (messages.OwnAnswers); a worker chooses among them by
what it knows itself, and what it was told too long ago it calls stale. Who asks for health may have seen more than was
told: control is asked for a newer word, and the old one holds where that does not come at once. Untold, it waits a
moment for health, where the answer has a form that only control can fill, and where something must be there for the
gateway to be ready; then it has a short answer of its own.

health: what control has found out last. ready: this worker takes traffic (it has a Plan, is not draining, and nothing
is away that must be there); for load balancers. live: this worker runs.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from headgate.config.admin_settings import LOCAL_VIEWS, methods_of
from headgate.config.resolve import ResolvedConfig
from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.steps import Reply

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway

Own = Callable[["Gateway", "Exchange"], None]
State = Literal["now", "stale", "draining", "starting", "dependency"]
"""Which of the answers of one endpoint holds: health has now, stale, draining; ready all but stale; live now."""

# Seconds without a word from control, which speaks once a second and on a busy machine less often, after which its last
# one is old. One that hangs is killed after as many.
STALE_AFTER: Final = 10.0
# Seconds that the first word of control is waited for, and a newer one: health never takes long.
_FIRST_WORD: Final = 10.0
_NEXT_WORD: Final = 0.05
# Seconds for which a word is as good as a newer one.
_NEW: Final = 0.01

_NEVER: Final = -math.inf

_JSON = b"application/json"
_READING = ("GET", "HEAD")


class OwnAnswer(NamedTuple):
    """One answer, ready to be sent."""

    status: int
    content_type: bytes
    body: bytes


class LocalAnswer:
    """One endpoint that is answered here."""

    __slots__ = ("_methods", "_path", "_state")

    def __init__(self, path: str, view: str, methods: Sequence[str]) -> None:
        self._path = path
        self._state = _STATES[view]
        self._methods = methods

    def __call__(self, gateway: Gateway, exchange: Exchange) -> None:
        """Answer.

        Raises:
            Failure: method_not_allowed.
        """
        if not self.takes(exchange.method):
            raise Failure("method_not_allowed", ", ".join(self._methods))
        answer = self.answer(gateway)
        exchange.respond(answer.status, answer.content_type, answer.body)

    def takes(self, method: str) -> bool:
        """Tell whether it may be asked so."""
        return method in self._methods

    def answer(self, gateway: Gateway) -> OwnAnswer:
        """Return what holds now."""
        state = self._state(gateway)
        told = gateway.own.told.get(self._path, {}).get(state)
        return told if told is not None else _untold(gateway, state, self._state is _ready)


class LocalAnswers(dict[str, Own]):
    """The endpoints that nobody is asked for a credential at, by path, and what control told last of all of them.

    `told` are the answers by path and state, `not_ready` says what keeps the gateway from being ready, `at` when.
    `waits` are the paths at which a word of control may be waited for.
    """

    __slots__ = (
        "_again",
        "_asked",
        "_first",
        "_news",
        "_seen",
        "_timer",
        "_waiting",
        "at",
        "not_ready",
        "told",
        "waits",
    )

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Reply[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        # Paths that wait for the first word, none once it has come, and those that ask for a newer one.
        self._first: frozenset[str] = frozenset()
        self._news: frozenset[str] = frozenset()
        # When control was asked for a newer word that has not come yet, 0 for not; of when its last one is.
        self._asked = 0.0
        self._seen = 0.0
        self._again = math.inf
        self.waits: frozenset[str] = frozenset()
        self.told: Mapping[str, Mapping[str, OwnAnswer]] = {}
        self.not_ready = ""
        self.at = _NEVER

    def take(
        self, told: Mapping[str, Mapping[str, OwnAnswer]], not_ready: str, seen: float = 0.0, again: float = math.inf
    ) -> None:
        """Believe this from now on, which control saw at the moment `seen`; from `again` on it says a newer word."""
        self.told, self.not_ready, self.at = told, not_ready, monotonic()
        self._seen, self._again = seen, again
        # What was on its way when control was asked is no answer to that.
        if seen >= self._asked:
            self._asked = 0.0
            self._go_on()

    def word(self, path: str, method: str, tell: Callable[[dict[str, Any]], bool]) -> Reply[None] | None:
        """Return what must come before this path of `waits` is answered, None for nothing; `tell` reaches control."""
        answer = self[path]
        if isinstance(answer, LocalAnswer) and not answer.takes(method):
            return None
        patience = _FIRST_WORD
        if path not in self._first:
            patience, now = _NEXT_WORD, monotonic()
            # Where control has kept somebody waiting for nothing, nobody else waits for the same.
            late = self._again - now > _NEXT_WORD
            if late or now - self._seen < _NEW or (self._asked and not self._waiting):
                return None
            if not self._asked:
                if not tell({"type": "own_answers"}):
                    return None
                self._asked = now
        if not self._waiting:
            self._timer = asyncio.get_running_loop().call_later(patience, self._go_on)
        reply: Reply[None] = Reply()
        self._waiting.append(reply)
        return reply

    def _go_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._first, self.waits = frozenset(), self._news
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply.set(None)

    def follow(self, config: ResolvedConfig) -> None:
        """Be those of this configuration: admin.expose, and `surface`, which wins."""
        self.clear()
        self.update((path, LocalAnswer(path, path[1:], _READING)) for path in exposed(config))
        for item, route in zip(config.surface, config.own_routes, strict=True):
            if item.view in LOCAL_VIEWS and route.auth.mode == "none":
                self[item.path] = LocalAnswer(item.path, item.view, methods_of(item))
        # A set and keys make a set, and compiled code takes none for a frozenset.
        self._news = frozenset({item.path for item in config.surface if item.view == "health"} & self.keys())
        if self.at == _NEVER:
            # A worker that has heard nothing would call healthy what nobody has looked at yet.
            waits = {item.path for item in config.surface if item.body is not None or item.view == "health"}
            waits.add("/health")
            if any(each.ready for each in config.health.dependencies):
                # Nobody says that it is ready before what it needs was looked at.
                waits |= {"/ready", *(item.path for item in config.surface if item.view == "ready")}
            self._first = frozenset(waits & self.keys())
        self.waits = frozenset({*self._first, *self._news})


def exposed(config: ResolvedConfig) -> list[str]:
    """List the paths of admin.expose that no item of `surface` has."""
    taken = {item.path for item in config.surface}
    return [path for path in config.admin.expose if path not in taken]


async def after(word: Reply[None], go_on: Callable[[], Awaitable[None] | None]) -> None:
    """Wait for a word of control, then go on."""
    await word
    if (pending := go_on()) is not None:
        await pending


def _health(gateway: Gateway) -> State:
    if gateway.draining:
        return "draining"
    return "now" if monotonic() - gateway.own.at < STALE_AFTER else "stale"


def _ready(gateway: Gateway) -> State:
    if not gateway.ready:
        return "draining" if gateway.draining else "starting"
    # Nobody looks any more at what control found missing before it went away itself.
    missing = gateway.own.not_ready and monotonic() - gateway.own.at < STALE_AFTER
    return "dependency" if missing else "now"


def _live(_: Gateway) -> State:
    return "now"


_STATES: Mapping[str, Callable[[Gateway], State]] = {"health": _health, "ready": _ready, "live": _live}


def _untold(gateway: Gateway, state: State, ready: bool) -> OwnAnswer:
    """Return the answer of a worker that has heard nothing of this endpoint yet."""
    if not ready:
        status = "draining" if state == "draining" else "healthy"
        uptime = round(monotonic() - gateway.started, 3)
        return OwnAnswer(200, _JSON, json.dumps({"status": status, "uptime_seconds": uptime}).encode())
    if state == "now":
        return OwnAnswer(200, _JSON, b'{"status": "ready"}')
    return OwnAnswer(503, _JSON, json.dumps({"status": "not_ready", "reason": state}).encode())

"""The public keys of all issuers whose keys are fetched: kept fresh here, and handed to the workers.

    fetch when due, or when a worker has seen an unknown kid -> new? to the workers -> due again

Laws: one fetch in flight for an issuer, and for the sake of unknown kids one in `cooldown`, however many there are.
What does not come or is no key set changes nothing: the keys from before are used on, until they are older than
`max_stale` allows; then nobody uses them. Every question of a worker is answered. The log has one line for each change,
not for each try. What is known outlives control (control.memory).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.auth.settings import JwtIssuer
from headgate.config.problems import without_url_secrets
from headgate.config.resolve import ResolvedConfig
from headgate.control.key_schedule import KeySchedule
from headgate.control.log import Log
from headgate.control.messages import KeySets
from headgate.control.spawn import Spawn
from headgate.core.clock import monotonic
from headgate.core.trace import kind_of
from headgate.telemetry.cells import Sample, SeriesName
from headgate.telemetry.families import MICROSECONDS

if TYPE_CHECKING:
    # It brings the HTTP client and cryptography, which a gateway without such issuers has no use for.
    from headgate.control.key_fetch import FetchedKeys

Fetch = Callable[[JwtIssuer], Awaitable["FetchedKeys"]]

# A document that says: the keys may not be used any more.
_WITHDRAWN = b""
_MOST_EARLY = 100
_LONGEST_NAME = 4096


class KeptKeys(NamedTuple):
    """What is known of one issuer, as its successor gets it; times are monotonic, in seconds."""

    issuer: JwtIssuer
    body: bytes
    usable: int
    fetched_at: float
    good_until: float


class _Issuer:
    """One issuer. `body` is None before there are keys, and `failing` is set while they cannot be fetched."""

    __slots__ = (
        "asked",
        "body",
        "failing",
        "fetched_at",
        "in_flight",
        "schedule",
        "settings",
        "task",
        "usable",
        "wake",
    )

    def __init__(self, settings: JwtIssuer, now: float, chance: Callable[[], float]) -> None:
        source = settings.discovery or settings.key_set
        assert source is not None
        self.settings = settings
        self.schedule = KeySchedule(source, now, chance)
        self.body: bytes | None = None
        self.usable = 0
        self.fetched_at = -inf
        self.failing = False
        self.asked = False
        self.in_flight = False
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.settings.name


class Issuers:
    """All issuers of the configuration in force whose keys are fetched."""

    def __init__(
        self,
        log: Log,
        spawn: Spawn,
        publish: Callable[[KeySets], None],
        kept: Iterable[KeptKeys] = (),
        fetch: Fetch | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`publish` hands keys to all workers; `kept` is what a predecessor knew."""
        self._log = log
        self._spawn = spawn
        self._publish = publish
        self._kept = {each.issuer.name: each for each in kept}
        self._fetch = fetch
        self._chance = chance
        self._issuers: dict[str, _Issuer] = {}
        # Asked for by workers that run a plan which has not come into force everywhere yet.
        self._early: set[str] = set()
        self._version = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        # Told when what is to outlive control has changed.
        self.on_change: Callable[[], None] = lambda: None

    def follow(self, config: ResolvedConfig) -> None:
        """Keep the keys of these issuers from now on; those whose source is the same as before stay."""
        wanted = {each.name: each for each in config.identity.jwt if each.key_set or each.discovery}
        before = set(self._issuers)
        for name, known in list(self._issuers.items()):
            if name in wanted and _same_source(wanted[name], known.settings):
                known.settings = wanted[name]
                continue
            if known.task is not None:
                known.task.cancel()
            del self._issuers[name]
        fresh = [settings for name, settings in wanted.items() if name not in self._issuers]
        for settings in fresh:
            issuer = self._issuers[settings.name] = self._begin(settings)
            if issuer.body is None and settings.name in before:
                # Keys that came from elsewhere are not those of this issuer.
                issuer.body = _WITHDRAWN
            issuer.asked = settings.name in self._early
            issuer.task = self._spawn(self._watch(issuer))
        self._early.clear()
        for key in [key for key in self._counts if key[0] not in wanted]:
            del self._counts[key]
        if before - wanted.keys() or any(self._issuers[each.name].body is not None for each in fresh):
            self._tell()

    def on_said(self, _worker: int, message: dict[str, Any]) -> None:
        """Take what a worker says: that it has seen a kid that it has no key for."""
        if message.get("type") != "unknown_key":
            return
        name = str(message.get("issuer"))
        issuer = self._issuers.get(name)
        if issuer is None:
            if len(self._early) < _MOST_EARLY and len(name) <= _LONGEST_NAME:
                self._early.add(name)
        elif issuer.in_flight or issuer.asked or issuer.schedule.due <= (now := monotonic()):
            issuer.asked = True
        elif issuer.schedule.asked(now):
            issuer.asked = True
            issuer.wake.set()
        else:
            self._tell(issuer.name)

    def kept(self) -> tuple[KeptKeys, ...]:
        """Return what a successor should know."""
        return tuple(
            KeptKeys(each.settings, each.body, each.usable, each.fetched_at, each.schedule.good_until)
            for each in self._issuers.values()
            if each.body
        )

    def samples(self) -> list[Sample]:
        """Return how many keys there are and how old they are, and how fetches ended since control began."""
        now = monotonic()
        found = [
            Sample(SeriesName("headgate_issuer_fetches_total", "counter", labels), [count])
            for labels, count in self._counts.items()
        ]
        for issuer in self._issuers.values():
            labels = (issuer.name,)
            found.append(Sample(SeriesName("headgate_issuer_keys", "gauge", labels), [issuer.usable]))
            if issuer.fetched_at > -inf:
                age = int((now - issuer.fetched_at) * MICROSECONDS)
                found.append(Sample(SeriesName("headgate_issuer_keys_age_seconds", "gauge", labels), [age]))
        return found

    def _begin(self, settings: JwtIssuer) -> _Issuer:
        issuer = _Issuer(settings, monotonic(), self._chance)
        kept = self._kept.pop(settings.name, None)
        if kept is not None and _same_source(kept.issuer, settings):
            issuer.body, issuer.usable, issuer.fetched_at = kept.body, kept.usable, kept.fetched_at
            issuer.schedule.good_until = kept.good_until
        return issuer

    # -- one issuer ------------------------------------------------------------------------------------------------

    async def _watch(self, issuer: _Issuer) -> None:
        """Fetch again and again."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(issuer.schedule.due - monotonic()):
                    await issuer.wake.wait()
            issuer.wake.clear()
            issuer.in_flight = True
            try:
                changed = await self._refresh(issuer)
            finally:
                issuer.in_flight = False
            asked, issuer.asked = issuer.asked, False
            if changed or asked:
                self._tell(*([issuer.name] if asked else ()))

    async def _refresh(self, issuer: _Issuer) -> bool:
        """Fetch once; tell whether the workers have to know of it."""
        if self._fetch is None:
            # The HTTP client takes a tenth of a second to import, and this loop has others to serve.
            self._fetch = await asyncio.to_thread(_import_fetch)
        try:
            fetched = await self._fetch(issuer.settings)
        except Exception as error:
            # Nothing that a stranger sends may end control; that it was foreseen, NotFetched says.
            return self._failed(issuer, without_url_secrets(str(error)) or kind_of(error))
        now = monotonic()
        issuer.schedule.fetched(now, fetched.max_age)
        issuer.fetched_at = now
        self._counts[issuer.name, "well"] += 1
        had, had_failed = issuer.body, issuer.failing
        issuer.body, issuer.usable, issuer.failing = fetched.body, fetched.usable, False
        if had != fetched.body:
            text = "have changed" if had else "have come"
            self._log("info", f"the keys of the issuer {issuer.name} {text}", keys=fetched.usable)
        elif had_failed:
            self._log("info", f"the keys of the issuer {issuer.name} can be fetched again", keys=fetched.usable)
        self.on_change()
        return had != fetched.body

    def _failed(self, issuer: _Issuer, why: str) -> bool:
        now = monotonic()
        issuer.schedule.failed(now)
        self._counts[issuer.name, "failed"] += 1
        if not issuer.failing:
            meanwhile = (
                "those from before are used on" if issuer.body else "its tokens cannot be checked until they come"
            )
            text = f"the keys of the issuer {issuer.name} cannot be fetched: {why}; {meanwhile}"
            self._log("warning", text)
        issuer.failing = True
        if now < issuer.schedule.good_until or issuer.body == _WITHDRAWN:
            return False
        if issuer.body:
            text = f"the keys of the issuer {issuer.name} are too old to be used: its tokens cannot be checked"
            self._log("error", text, reason=why)
        # Also where there have been none: workers may have those that a predecessor gave them.
        issuer.body, issuer.usable = _WITHDRAWN, 0
        self.on_change()
        return True

    def _tell(self, *answers: str) -> None:
        self._version += 1
        sets = {each.name: each.body for each in self._issuers.values() if each.body is not None}
        self._publish(KeySets(self._version, sets, answers))


def _same_source(one: JwtIssuer, other: JwtIssuer) -> bool:
    """Tell whether the keys of the one are those of the other, too."""
    return (one.issuer, one.key_set, one.discovery, one.algorithms) == (
        other.issuer,
        other.key_set,
        other.discovery,
        other.algorithms,
    )


def _import_fetch() -> Fetch:
    from headgate.control.key_fetch import fetch_keys

    return fetch_keys

"""All ways of one worker: made from `identity`, kept over reloads as long as their settings stay.

Laws: what is known of credentials lives as long as the settings it was found out by; new keys of an issuer make what
was found out with the old ones void. Asking control for keys is bounded: one question an issuer under way, and none
for a while after one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headgate.auth.forward import IdentityFields
from headgate.auth.key_ring import KeyRing, fetched, read_key_set, ring_of
from headgate.auth.key_use import KeyUses
from headgate.auth.method import Given, Known, NeedCall, Refused
from headgate.auth.rules import IdentityRules
from headgate.auth.settings import ApiKeys, IdentitySettings, JwtIssuer, KeySetSource
from headgate.catalog import AUTH
from headgate.config.resolve import ResolvedConfig
from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.identity import Identity
from headgate.core.message import Fields
from headgate.core.steps import Reply
from headgate.proxy.callout import Callout, Draft
from headgate.proxy.methods import build_methods
from headgate.proxy.way import UNAVAILABLE, Outside, Way

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway
    from headgate.stores.keys import KeyReader

# Password hashes at work or waiting, in one worker: each takes a fifth of a second of a core, and whoever comes last
# shall wait for seconds at most, not for as long as a flood lasts.
_MOST_WORK = 12
_THREADS = 2
# Seconds control may take to answer beyond the fetch itself.
_PATIENCE = 1.0


class Ways:
    """The ways of one `identity`, by the names that a route lets count."""

    def __init__(
        self,
        identity: IdentitySettings,
        outside: Outside,
        given: Given,
        generation: Callable[[], int],
        uses: KeyUses,
    ) -> None:
        """`generation` moves when API keys change; `uses` takes which of them were shown.

        Raises:
            ValueError: with a sentence, for rules that cannot be.
        """
        self.identity = identity
        self.rings = given.rings
        self.rules = IdentityRules(identity)
        self.fields = IdentityFields(identity.forward)
        # By Identity.method, which of several issuers is the one that made the token.
        self.kinds = {each.name: kind for kind, entry in AUTH.items() for each in entry.configured(identity)}
        self._outside = outside
        self._given = given
        self._generation = generation
        self._uses = uses
        self._made: dict[tuple[str, ...], tuple[Way, ...]] = {}

    def of(self, names: Sequence[str]) -> tuple[Way, ...]:
        """Return the ways of these names, in the order of `identity.order`; all, when there are none.

        Raises:
            ValueError: with a sentence, when one cannot be made.
        """
        key = tuple(sorted(names))
        if key not in self._made:
            methods = build_methods(self.identity, key, self._given)
            self._made[key] = tuple(
                Way(
                    method,
                    self.identity.cache,
                    self._outside,
                    self.settle,
                    self._generation_of(method.kind),
                    self._uses if method.kind == "api_key" else None,
                )
                for method in methods
            )
        return self._made[key]

    def settle(self, identity: Identity) -> tuple[Identity, Fields]:
        """Return what follows from a credential: the caller by the rules, and the fields that tell upstreams of it."""
        settled = self.rules.settle(identity)
        return settled, self.fields.of(settled)

    def forget(self, kind: str) -> None:
        """Make void what the ways of a kind have found out."""
        for ways in self._made.values():
            for way in ways:
                if way.method.kind == kind:
                    way.forget()

    def _generation_of(self, kind: str) -> Callable[[], int]:
        return self._generation if kind == "api_key" else _never_changes


def _never_changes() -> int:
    return 0


class Origin(NamedTuple):
    """What ways were made from: as long as it stays, so do they. `stamps` are those of the files with public keys."""

    identity: IdentitySettings
    stamps: tuple[object, ...]
    keys_path: str | None


class KeyQuestion(NamedTuple):
    """Keys that control was asked for: who waits for them, and the timer that ends their wait."""

    waiting: list[Reply[bool]]
    late: asyncio.TimerHandle


class Authentication:
    """What ways need in one worker, and the ways `in_force`, None before the first plan."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.in_force: Ways | None = None
        self._calls: dict[str, list[Callout]] = {}
        self._origin: Origin | None = None
        self._reader: KeyReader | None = None
        self._uses = KeyUses()
        self._sets: dict[str, bytes] = {}
        self._version = 0
        self._asked: dict[str, KeyQuestion] = {}
        self._quiet_until: dict[str, float] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._at_work = 0

    def prepare(self, config: ResolvedConfig, draft: Draft) -> tuple[Ways, Callable[[], None]]:
        """Return the ways of a configuration, those in force if nothing about them changes, and what puts them there.

        Raises:
            ValueError: with a sentence, when one cannot be made.
        """
        identity = config.identity
        calls = {
            each.name: [draft.to(url + each.path, each.timeout, each.ca) for url in each.url]
            for each in identity.introspection
        }
        kept, origin = self.in_force, Origin(identity, _stamps(identity), config.keys_path)
        if kept is not None and origin == self._origin:
            return kept, lambda: self._use(kept, calls, origin, self._reader)
        reader = self._read_keys(identity.api_keys, config.keys_path)
        rings = {issuer.name: self._ring(issuer) for issuer in identity.jwt}
        given = Given(rings, reader.get if reader is not None else _no_keys, _pepper(config))
        outside = Outside(self._keys, self._call, self._work, self._gateway.metrics.auth_judged)
        generation = (lambda: reader.generation) if reader is not None else _never_changes
        made = Ways(identity, outside, given, generation, self._uses)
        return made, lambda: self._use(made, calls, origin, reader)

    def _use(self, ways: Ways, calls: dict[str, list[Callout]], origin: Origin, reader: KeyReader | None) -> None:
        if self._reader is not None and self._reader is not reader:
            self._reader.close()
        self.in_force, self._calls, self._origin, self._reader = ways, calls, origin, reader

    def _read_keys(self, settings: ApiKeys | None, path: str | None) -> KeyReader | None:
        if settings is None or not settings.enabled or path is None:
            return None
        if self._reader is not None and self._origin is not None and path == self._origin.keys_path:
            # A process can have a file of LMDB open once, and requests in flight go on with theirs.
            return self._reader
        from headgate.stores.keys import KeyReader

        return KeyReader(Path(path), self._gateway.board, lambda text: self._gateway.say("warning", text))

    def observe(self, now: float) -> None:
        """Tell control which API keys were used; called once a second, `now` monotonic."""
        used = self._uses.take(now)
        if used is not None:
            self._gateway.tell({"type": "keys_used", "keys": used})

    # -- keys of issuers -------------------------------------------------------------------------------------------

    def _ring(self, issuer: JwtIssuer) -> KeyRing:
        ring = ring_of(issuer, lambda path: _file(path).read_text())
        if fetched(issuer) and issuer.name in self._sets:
            self._fill(ring, self._sets[issuer.name])
        return ring

    def _fill(self, ring: KeyRing, body: bytes) -> None:
        self._version += 1
        ring.take(read_key_set(body)[0] if body else [], self._version)

    def take_key_sets(self, sets: Mapping[str, bytes], answers: Sequence[str]) -> None:
        """Use these keys of issuers from now on, and tell whoever waits for some; `answers` as in messages.KeySets."""
        changed = {name: body for name, body in sets.items() if self._sets.get(name) != body}
        self._sets = dict(sets)
        if self.in_force is not None and changed:
            for name, body in changed.items():
                ring = self.in_force.rings.get(name)
                if ring is not None:
                    self._fill(ring, body)
            self.in_force.forget("jwt")
        for issuer in {*changed, *answers}:
            self._answer(issuer)

    def _keys(self, name: str) -> Reply[bool]:
        """Have control fetch the keys of an issuer; the reply tells whether there are any."""
        reply: Reply[bool] = Reply()
        now = monotonic()
        source = self._source(name)
        if source is None or now < self._quiet_until.get(name, 0.0):
            reply.set(self._has_keys(name))
            return reply
        question = self._asked.get(name)
        if question is None:
            self._gateway.tell({"type": "unknown_key", "issuer": name})
            late = self._gateway.loop.call_later(source.timeout + _PATIENCE, self._answer, name)
            question = self._asked[name] = KeyQuestion([], late)
        question.waiting.append(reply)
        return reply

    def _answer(self, name: str) -> None:
        question = self._asked.pop(name, None)
        if question is None:
            return
        # It would end the next question, which has its own time.
        question.late.cancel()
        source = self._source(name)
        # Who sends one unknown key id after another shall not keep control busy.
        self._quiet_until[name] = monotonic() + (source.cooldown if source is not None else 0.0)
        has_keys = self._has_keys(name)
        for reply in question.waiting:
            reply.set(has_keys)

    def _has_keys(self, name: str) -> bool:
        ring = self.in_force.rings.get(name) if self.in_force is not None else None
        return ring is not None and len(ring) > 0

    def _source(self, name: str) -> KeySetSource | None:
        issuers = self.in_force.identity.jwt if self.in_force is not None else []
        return next((each.discovery or each.key_set for each in issuers if each.name == name), None)

    # -- other servers ---------------------------------------------------------------------------------------------

    async def _call(self, name: str, need: NeedCall) -> Known | Refused:
        why = "a reload has taken the server away that would know"
        for callout in self._calls.get(name, ()):
            try:
                answer = await callout.ask("POST", need.fields, need.body)
            except Failure as failure:
                why = str(failure)
                if failure.side == "client":
                    break
            else:
                return need.read(answer.status, answer.body, wall())
        return Refused(UNAVAILABLE, why)

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
        if done.cancelled():
            reply.fail(Failure("draining", "given up"))
            return
        error = done.exception()
        if isinstance(error, Exception):
            reply.fail(error)
        elif error is None:
            reply.set(done.result())

    def close(self) -> None:
        """Let go of the threads and the file of keys."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._reader is not None:
            self._reader.close()


def _stamps(identity: IdentitySettings) -> tuple[object, ...]:
    """Tell one state of the files with public keys from another."""
    found = [_file(issuer.public_key).stat() for issuer in identity.jwt if issuer.public_key is not None]
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def _file(path: str) -> Path:
    try:
        with Path(path).open("rb"):
            return Path(path)
    except OSError as error:
        raise ValueError(f"public_key {path} cannot be read: {error.strerror}") from None


def _no_keys(digest: bytes) -> bytes | None:
    return None


def _pepper(config: ResolvedConfig) -> bytes:
    """Return what control has written into the configuration along with the folder of the keys, in hexadecimal."""
    keys = config.identity.api_keys
    return bytes.fromhex(keys.pepper) if config.keys_path and keys is not None and keys.pepper else b""

"""Who asks: the configured ways at work in one worker, and what they have found out.

    find the credential -> remembered? -> judge -> (get what it needs, judge again) -> remember

Laws: a verdict is kept under the SHA-256 of the whole credential, never longer than the credential itself is good for;
wrong credentials are kept apart, for seconds, so that a flood of them cannot push the good ones out; all memory is
bounded. Of equal credentials that need something from outside one asks, and all wait for it. What is needed and does
not come is never taken for a yes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from headgate.auth.key_use import MOST, KeyUses
from headgate.auth.method import Judged, Known, Method, NeedCall, NeedKeys, NeedWork, Refused
from headgate.core.clock import wall
from headgate.core.failure import Failure
from headgate.core.identity import Identity
from headgate.core.message import Field, Fields
from headgate.core.steps import Reply, Steps

if TYPE_CHECKING:
    from headgate.core.message import RequestHead

T = TypeVar("T")

# Wrong credentials: how many, and how long. A key made a moment ago must not stay unknown for long.
_MOST_REFUSED = 4096
_REFUSED_SECONDS = 2.0
# Whoever is away is asked again about a caller that is known from before, but not with every request of his.
_STALE_SECONDS = 2.0
# Credentials that are being asked about: a client that leaves does not end the question.
_MOST_ASKED = 4096
# Bytes of a field that is remembered as it is; a longer one is known by its digest alone.
_LONGEST_FIELD = 2048
# Judged again after what it needed came; more often than this nothing can help.
_MOST_ROUNDS = 3
UNAVAILABLE = "identity_unavailable"


class Verdict(NamedTuple):
    """What is known of a credential from the moment `since` until the moment `until` (wall clock, seconds).

    `forwarded` are the fields that tell an upstream who asks; `refused` says why nobody does. While whoever could say
    it anew is away, it is used until `stale_until`. A clock that was set back to before `since` makes nothing longer.
    """

    identity: Identity
    forwarded: Fields
    until: float
    refused: Refused | None
    stale_until: float = 0.0
    since: float = 0.0


class Outside(NamedTuple):
    """What a way may need of the world; each is awaited in the course of the request.

    `keys` gets the key set of an issuer anew and tells whether there is any; `call` asks the server of the way of this
    name; `work` runs in a thread. `judged` is told the name of a way that had to judge, for nothing was remembered.
    """

    keys: Callable[[str], Reply[bool]]
    call: Callable[[str, NeedCall], Awaitable[Known | Refused]]
    work: Callable[[Callable[[], Known | Refused]], Reply[Known | Refused]]
    judged: Callable[[str], None] = lambda _: None


class Way:
    """One method with its memory."""

    __slots__ = (
        "_by_field",
        "_generation",
        "_known",
        "_most",
        "_outside",
        "_refused",
        "_seen",
        "_settle",
        "_uses",
        "_waiting",
        "method",
    )

    def __init__(
        self,
        method: Method,
        most: int,
        outside: Outside,
        settle: Callable[[Identity], tuple[Identity, Fields]],
        generation: Callable[[], int],
        uses: KeyUses | None = None,
    ) -> None:
        """Remember at most `most` verdicts, and note in `uses` whose key was shown.

        `settle` says what follows from a credential: the caller by the rules of `identity`, and the fields for
        upstreams. A `generation` other than that of the moment before makes everything remembered void.
        """
        self.method = method
        self._most = most
        self._outside = outside
        self._settle = settle
        self._generation = generation
        self._seen = generation()
        self._uses = None if uses is None else uses.latest
        self._known: dict[bytes, Verdict] = {}
        self._by_field: dict[Field, Verdict] = {}
        self._refused: dict[bytes, Verdict] = {}
        self._waiting: dict[bytes, list[Reply[Verdict]]] = {}

    def find(self, head: RequestHead) -> bytes | None:
        """Return the credential of this kind that a request shows."""
        return self.method.find(head)

    def recalled(self, field: Field) -> Verdict | None:
        """Return what is known of a caller who shows this field as before, and no other credential.

        The whole field is compared, as it is: no digest has to be made where the wire hands out the same bytes again.
        """
        verdict = self._by_field.get(field)
        if verdict is None or self._generation() != self._seen:
            return None
        now = wall()
        if not verdict.since <= now < verdict.until:
            # Whatever the clock shows later: it is found out anew.
            del self._by_field[field]
            return None
        uses = self._uses
        if uses is not None and len(uses) < MOST:
            uses[verdict.identity.id] = now
        return verdict

    def recall(self, field: Field, verdict: Verdict) -> None:
        """Note what is known of whoever shows this field and no other credential."""
        if self._most and len(field[1]) <= _LONGEST_FIELD:
            _keep(self._by_field, field, verdict, self._most)

    def verdict(self, credential: bytes) -> Verdict | Reply[Verdict]:
        """Return what is known of a credential, or a Reply that brings it."""
        digest = sha256(credential).digest()
        generation = self._generation()
        if generation != self._seen:
            self.forget()
            self._seen = generation
        known = self._known.get(digest)
        now = wall()
        if known is not None and known.since <= now < known.until:
            uses = self._uses
            if uses is not None and len(uses) < MOST:
                uses[known.identity.id] = now
            return known
        refused = self._refused.get(digest)
        if refused is not None and refused.since <= now < refused.until:
            return refused
        waiting = self._waiting.get(digest)
        if waiting is None:
            self._outside.judged(self.method.name)
            judged = self.method.judge(credential, now)
            if isinstance(judged, (Known, Refused)):
                return self._remember(digest, judged, now)
            if len(self._waiting) >= _MOST_ASKED:
                full = Refused(UNAVAILABLE, "too many credentials are being asked about")
                return self._stale(digest, full) or self._remember(digest, full, now)
            waiting = self._waiting[digest] = []
            reply: Reply[Verdict] = Reply()
            waiting.append(reply)
            Steps(self._find_out(credential, digest, judged)).go_on()
            return reply
        reply = Reply()
        waiting.append(reply)
        return reply

    def forget(self) -> None:
        """Forget all verdicts: keys have changed."""
        self._by_field.clear()
        self._known.clear()
        self._refused.clear()

    def _remember(self, digest: bytes, judged: Known | Refused, now: float) -> Verdict:
        if isinstance(judged, Refused):
            verdict = Verdict(_NOBODY, [], now + _REFUSED_SECONDS, judged, since=now)
            if judged.reason != UNAVAILABLE:
                # What was known of it before must not come to life again when nobody can be asked.
                self._known.pop(digest, None)
                _keep(self._refused, digest, verdict, _MOST_REFUSED)
            return verdict
        identity, forwarded = self._settle(judged.identity)
        if self._uses is not None and len(self._uses) < MOST:
            self._uses[identity.id] = now
        verdict = Verdict(identity, forwarded, judged.until, None, judged.stale_until, now)
        if self._most:
            _keep(self._known, digest, verdict, self._most)
        return verdict

    async def _find_out(self, credential: bytes, digest: bytes, judged: Judged) -> None:
        """Get what is needed, and tell everybody who waits; its own course, so that no client's leaving ends it."""
        failure: Exception | None = None
        verdict: Verdict | None = None
        try:
            found = await self._ask(credential, judged)
            verdict = self._stale(digest, found) or self._remember(digest, found, wall())
        except Exception as error:
            failure = error
        for reply in self._waiting.pop(digest):
            if verdict is not None:
                reply.set(verdict)
            else:
                reply.fail(failure or Failure("internal"))

    async def _ask(self, credential: bytes, judged: Judged) -> Known | Refused:
        for _ in range(_MOST_ROUNDS):
            match judged:
                case Known() | Refused():
                    return judged
                case NeedCall():
                    return await self._outside.call(self.method.name, judged)
                case NeedWork():
                    return await self._outside.work(judged.work)
                case NeedKeys(issuer):
                    if not await self._outside.keys(issuer):
                        return Refused(UNAVAILABLE, f"{issuer}: its keys have not come yet")
                    judged = self.method.judge(credential, wall())
                    if isinstance(judged, NeedKeys):
                        return Refused("invalid_token", f"{issuer} has no such key")
        raise Failure("internal", f"{self.method.name} needs more and more")

    def _stale(self, digest: bytes, found: Known | Refused) -> Verdict | None:
        """Return what was known before, if whoever could say it anew is away and it may be used on."""
        known, now = self._known.get(digest), wall()
        if known is None or not isinstance(found, Refused) or found.reason != UNAVAILABLE:
            return None
        if not known.since <= now < known.stale_until:
            return None
        used_on = known._replace(until=min(now + _STALE_SECONDS, known.stale_until))
        self._known[digest] = used_on
        return used_on


_NOBODY = Identity()


def _keep(memory: dict[T, Verdict], key: T, verdict: Verdict, most: int) -> None:
    """Put a verdict in; the oldest make room for it, some at once: looking for a dictionary's first takes its time."""
    memory.pop(key, None)
    if len(memory) >= most:
        for old in list(islice(memory, max(1, most // 8))):
            del memory[old]
    memory[key] = verdict

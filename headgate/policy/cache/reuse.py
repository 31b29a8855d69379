"""May the cache answer this request, with this entry, now (RFC 9111 section 4).

Laws:
- Nothing is fresher than what answered it said, unless configuration overrides that.
- A clock that went back makes entries stale, never young.
- A request is read once; with `client_control: ignore` nothing that it says of caching counts.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from headgate.core.message import UNKNOWN_LENGTH, Fields, RequestHead, ResponseHead
from headgate.policy.cache.directives import ABSENT, NOTHING, SURROGATE_CAPABILITY, control
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.key import parameter_name
from headgate.policy.cache.settings import Cache
from headgate.policy.cache.storing import Storing

Use = Literal["fresh", "revalidate", "validate", "fetch"]
"""What an entry is good for: an answer; one while another is fetched behind it; to be validated first; nothing."""

ERRORS = frozenset((500, 502, 503, 504))
"""Statuses in place of which a stale answer may be given (RFC 5861 section 4)."""

# Clocks of machines that share a store are apart by some milliseconds.
_SKEW = 1.0
_CONDITIONS = frozenset((b"if-none-match", b"if-modified-since"))
_RANGES = frozenset((b"range", b"if-range"))


class Verdict(NamedTuple):
    """May an entry answer. `ttl` is how long it stays fresh, in seconds; below zero: since when it is stale."""

    use: Use
    age: int
    ttl: int


class Asked:
    """What the cache reads of a request: once, before everything else.

    `bypass` says why the cache has no part in it, in words of RFC 9211 section 2.2: method, bypass, request; empty if
    it has. `only_if_cached`: to be answered 504 (`not_cached`) where the cache cannot answer. `range` is the Range
    field. `forced`: it wants no entry used without validation.
    """

    __slots__ = (
        "bypass",
        "forced",
        "if_modified_since",
        "if_none_match",
        "if_range",
        "max_age",
        "max_stale",
        "min_fresh",
        "only_if_cached",
        "plain",
        "range",
        "stale_if_error",
    )

    def __init__(self) -> None:
        self.bypass = ""
        self.forced = False
        self.only_if_cached = False
        self.max_age = ABSENT
        self.max_stale = ABSENT
        self.min_fresh = ABSENT
        self.stale_if_error = ABSENT
        self.if_none_match = b""
        self.if_modified_since = b""
        self.if_range = b""
        self.range = b""
        # Neither conditions nor ranges: the answer is the entry.
        self.plain = True


class Rules:
    """The rules of one route."""

    __slots__ = ("_bypassing", "_cookies", "_honours", "_query", "_storing", "_surrogate")

    def __init__(self, settings: Cache) -> None:
        self._storing = Storing(settings)
        self._honours = settings.client_control == "honour"
        self._bypassing = frozenset(name.lower().encode() for name in settings.bypass.headers)
        self._cookies = frozenset(name.encode() for name in settings.bypass.cookies)
        self._query = frozenset(name.encode() for name in settings.bypass.query)
        self._surrogate = any(name.lower() == "surrogate-control" for name in settings.targeted)

    def read(self, head: RequestHead) -> Asked:
        """Read what a request asks of the cache."""
        asked = Asked()
        if head.method not in ("GET", "HEAD"):
            asked.bypass = "method"
            return asked
        if head.length or head.upgrade:
            # A body that counts for nothing in the key; a connection that becomes another one.
            asked.bypass = "bypass"
            return asked
        if self._query and head.query and any(parameter_name(piece) in self._query for piece in head.query.split(b"&")):
            asked.bypass = "bypass"
        lines = b""
        for field in head.fields:
            name = field[0].lower()
            if name in self._bypassing or (self._cookies and name == b"cookie" and self._listed(field[1])):
                asked.bypass = "bypass"
            if name in _READ:
                if name == b"cache-control":
                    lines = lines + b"," + field[1] if lines else field[1]
                else:
                    _note(asked, name, field[1])
        if lines and self._honours:
            self._control(asked, lines)
        if head.method == "HEAD":
            # RFC 9110 section 14.2: a server MUST ignore Range with any method but GET.
            asked.range = b""
        return asked

    def judge(self, entry: Entry, asked: Asked, now: float) -> Verdict:
        """Tell what an entry is good for."""
        resident = now - entry.received
        age = entry.age + max(0.0, resident)
        ttl = entry.lifetime - age
        if resident < -_SKEW:
            # The clock went back, and nobody knows how long this was here.
            return Verdict(_stale(entry), int(age), min(0, int(ttl)))
        use: Use
        if asked.forced or 0 <= asked.max_age < age or ttl < asked.min_fresh != ABSENT:
            use = _stale(entry)
        elif ttl > 0.0 or (asked.max_stale >= -ttl and not entry.strict):
            use = "fresh"
        elif -ttl < entry.stale_while_revalidate and not entry.strict:
            use = "revalidate"
        else:
            use = _stale(entry)
        return Verdict(use, int(age), int(ttl))

    def stale_if_error(self, entry: Entry, asked: Asked, now: float) -> bool:
        """Tell whether an entry may answer since nothing else can: no connection, an open breaker, one of ERRORS."""
        resident = now - entry.received
        if entry.strict or asked.forced or resident < -_SKEW:
            return False
        stale = entry.age + max(0.0, resident) - entry.lifetime
        return stale <= 0.0 or stale < max(entry.stale_if_error, asked.stale_if_error)

    def storable(
        self, head: RequestHead, response: ResponseHead, requested: float, now: float, authenticated: bool
    ) -> Entry | str:
        """Return the entry that an answer makes, without its length; or a word on why it makes none.

        `authenticated`: the request showed who asks, by Authorization or in any other way that the gateway verified.
        `requested` and `now` are when it was sent and when its answer came.
        """
        return self._storing.entry(head, response, requested, now, authenticated)

    def outgoing(self, fields: Fields, entry: Entry | None, *, whole: bool = True) -> Fields:
        """Return the fields of a request whose answer shall be stored: without the client's own conditions.

        With an `entry`, with conditions that validate it (RFC 9111 section 4.3.1). `whole`: without a range, too.
        """
        dropped = _CONDITIONS | _RANGES if whole else _CONDITIONS
        kept = [field for field in fields if field[0].lower() not in dropped]
        if entry is not None:
            if entry.etag:
                kept.append((b"If-None-Match", entry.etag))
            if entry.modified:
                kept.append((b"If-Modified-Since", entry.modified))
        if self._surrogate:
            kept.append(SURROGATE_CAPABILITY)
        return kept

    def validated(self, entry: Entry, response: ResponseHead, requested: float, now: float) -> Entry:
        """Return the entry as a 304 renews it (RFC 9111 section 4.3.4); not to be kept where `once` says so."""
        return self._storing.validated(entry, response, requested, now)

    def keep(self, entry: Entry, now: float) -> float:
        """Return for how many seconds a store should keep an entry: as long as it can be of any use."""
        return self._storing.keep(entry, now)

    def _control(self, asked: Asked, lines: bytes) -> None:
        """Act on the Cache-Control of a request (RFC 9111 section 5.2.1)."""
        said = control(lines)
        if said is NOTHING:
            return
        asked.forced = said.validate
        if said.no_store and not asked.bypass:
            # Section 5.2.1.5: nothing of it may be kept, and so nothing that is kept may be renewed by it.
            asked.bypass = "request"
        asked.only_if_cached = said.only_if_cached
        asked.max_age = said.max_age
        asked.max_stale = said.max_stale
        asked.min_fresh = said.min_fresh
        asked.stale_if_error = said.stale_if_error

    def _listed(self, cookie: bytes) -> bool:
        return any(pair.partition(b"=")[0].strip() in self._cookies for pair in cookie.split(b";"))


_READ = frozenset(
    (
        b"cache-control",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    )
)


def _note(asked: Asked, name: bytes, value: bytes) -> None:
    asked.plain = False
    if name == b"if-none-match":
        # RFC 9110 section 5.3: a list may be told in several lines.
        asked.if_none_match = asked.if_none_match + b"," + value if asked.if_none_match else value
    elif name == b"if-modified-since":
        asked.if_modified_since = value
    elif name == b"if-range":
        asked.if_range = value
    elif name == b"range":
        # Two of them: none counts.
        asked.range = b"" if asked.range else value
    else:
        # RFC 9111 section 4.3.2: If-Match and If-Unmodified-Since are for the origin to evaluate.
        asked.bypass = asked.bypass or "bypass"


def refuted(entry: Entry, response: ResponseHead) -> bool:
    """Tell whether an answer to HEAD shows that an entry is not what is there any more (RFC 9111 section 4.3.5)."""
    if response.status != 200 or entry.status != 200:
        return False
    if response.length not in (UNKNOWN_LENGTH, entry.length):
        return True
    etag, modified = response.get(b"etag"), response.get(b"last-modified")
    return (etag is not None and etag != entry.etag) or (modified is not None and modified != entry.modified)


def _stale(entry: Entry) -> Use:
    return "validate" if entry.etag or entry.modified else "fetch"

"""From an answer to an Entry, or why there is none (RFC 9111 sections 3 and 4.2).

Laws:
- Who may not store does not: no-store, private, Authorization and Set-Cookie win over every duration that is set.
- What tells its age or its freshness in disorder is stale.
- Whether an answer to a request with cookies is one caller's alone is not guessed: what says nothing of its freshness
  has to be public, or vary by cookies.
- An answer that nobody could ever use is not stored: it is not fresh, and there is nothing to validate it by.
"""

from __future__ import annotations

import re
from math import floor

from headgate.core.http_date import parse_date
from headgate.core.message import Field, Fields, RequestHead, ResponseHead, tokens
from headgate.policy.cache.directives import ABSENT, NOTHING, Control, control, targeted
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.settings import Cache

# RFC 9110 section 15.1; 206 is one, too, but parts are not stored here.
_HEURISTIC = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
_PLAIN = frozenset((200, 203, 204, 300, 301, 308))
# Those whose meaning for a cache is known here (RFC 9111 section 5.2.2.3).
_UNDERSTOOD = _HEURISTIC | frozenset((302, 303, 307, 400, 401, 402, 403, 406, 409, 411, 413, 415, 421, 422, 451))
# About one request's range, conditions, credentials for the network, rate or fields, which no key knows; RFC 6585
# sections 3 to 6 forbid it of the last four.
_ONE_REQUESTS = frozenset((206, 304, 407, 412, 416, 428, 429, 431, 511))
# RFC 9111 section 3.1, besides what a head never holds; and what was said to one client about its own limits.
_NEVER = frozenset((b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"age"))
_LIMITS = (b"ratelimit", b"x-ratelimit-")
# They describe the body that is kept, or name it: a 304 has none (RFC 9111 section 3.2).
_OF_THE_BODY = frozenset(
    (b"content-encoding", b"content-range", b"content-md5", b"content-digest", b"repr-digest", b"digest", b"etag")
)
# What has no end, and is about what happens from now on (HTML standard, "Server-sent events").
_EVENTS = b"text/event-stream"
_TAG = re.compile(r"[!-+\--~]{1,200}")
_MOST_TAGS = 64
_MOST_NAMES = 32
# RFC 9111 section 5.1: of a list, the first counts. Lists with spaces are what proxies make of repeated lines: then
# nobody knows which of them is meant.
_AGE = re.compile(rb"([0-9]{1,10})(?:,[0-9]{1,10})*")
_ETAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LONGEST_AGE = 100
_LONGEST_VALIDATOR = 1024
_GRACE = 60.0


class _Read:
    """What the fields of an answer say to a cache."""

    __slots__ = ("age", "cookies", "date", "expires", "tags", "vary")

    def __init__(self) -> None:
        self.age: list[bytes] = []
        self.date: bytes | None = None
        self.expires: list[bytes] = []
        self.vary: list[bytes] = []
        self.tags: list[bytes] = []
        self.cookies = False


class Storing:
    """What one route stores."""

    __slots__ = ("_settings", "_tags", "_targeted")

    def __init__(self, settings: Cache) -> None:
        self._settings = settings
        self._tags = frozenset(name.lower().encode() for name in settings.tags)
        self._targeted = tuple(name.lower().encode() for name in settings.targeted)

    def entry(
        self, head: RequestHead, response: ResponseHead, requested: float, now: float, authenticated: bool
    ) -> Entry | str:
        """Return the entry that an answer makes; or a word on why it makes none."""
        status = response.status
        if head.method != "GET":
            return "method"
        if status < 200 or status > 599 or status in _ONE_REQUESTS:
            return "status"
        if response.length > self._settings.max_entry:
            return "too-large"
        if (response.get(b"content-type") or b"").lower().startswith(_EVENTS):
            return "stream"
        said, alone = self._control(response.fields)
        why = self._forbidden(status, said, authenticated)
        if why:
            return why
        entry = Entry(status, [], now)
        read = self._read(entry, response.fields, said.hidden)
        if read.cookies and not self._settings.set_cookie:
            return "set-cookie"
        if b"*" in entry.vary or len(entry.vary) > _MOST_NAMES:
            return "vary"
        if alone:
            # RFC 9213 section 2.1: then Expires says nothing, either.
            read.expires = []
        guess = said.public or b"cookie" in entry.vary or all(name.lower() != b"cookie" for name, _ in head.fields)
        if not self._date(entry, read, said, requested, guess):
            return "no-freshness"
        return entry if self.keep(entry, now) > 0.0 else "stale"

    def keep(self, entry: Entry, now: float) -> float:
        """Return for how many seconds an entry can be of any use; 0 for none."""
        if entry.once:
            return 0.0
        left = entry.lifetime - entry.age - (now - entry.received)
        left = max(0.0, left + max(entry.stale_while_revalidate, entry.stale_if_error))
        if entry.etag or entry.modified:
            # It can be validated at any time: for as long again as anything is fresh here.
            return left + self._settings.max_ttl
        if left and not entry.strict:
            # For requests that say that they take stale ones.
            return left + _GRACE
        return left

    def validated(self, entry: Entry, response: ResponseHead, requested: float, now: float) -> Entry:
        """Return the entry as a 304 renews it (RFC 9111 section 4.3.4)."""
        fresh = response.fields
        told = _validator(response.get(b"etag"))
        if told and told[:2] != b"W/" and told != entry.etag:
            # It is about another one, and MUST NOT update this. Yet it answers our condition: the entry is what it was.
            fresh = [field for field in fresh if field[0].lower() == b"date"]
        named = {name.lower() for name, _ in fresh} - _OF_THE_BODY
        fields: Fields = [field for field in entry.fields if field[0].lower() not in named]
        fields += [field for field in fresh if field[0].lower() in named]
        renewed = Entry(entry.status, [], now)
        # What the stored answer said still holds where the 304 does not say otherwise.
        said, alone = self._control(fields)
        read = self._read(renewed, fields, said.hidden)
        if alone:
            read.expires = []
        # One that was never fresh by itself may be so because that could not be guessed.
        self._date(renewed, read, said, requested, entry.lifetime > 0.0)
        renewed.length = entry.length
        # Found under the fields that the old one named; and a 304 may forbid to keep what it renews.
        renewed.once = said.no_store or said.private or renewed.vary != entry.vary
        return renewed

    def _control(self, fields: Fields) -> tuple[Control, bool]:
        """Read the Cache-Control that counts here; the flag tells that it is one for caches like this alone."""
        lines: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            lower = name.lower()
            if lower == b"cache-control" or lower in self._targeted:
                lines.setdefault(lower, []).append(value)
        for name in self._targeted:
            if name in lines:
                said = targeted(name, b",".join(lines[name]))
                if said is not None:
                    return said, True
        return (control(b",".join(lines[b"cache-control"])) if b"cache-control" in lines else NOTHING), False

    def _forbidden(self, status: int, said: Control, authenticated: bool) -> str:
        """Say why an answer must not be stored (RFC 9111 section 3); empty if it may be."""
        if said.must_understand:
            # Section 5.2.2.3: who understands the status may disregard no-store beside it.
            if status not in _UNDERSTOOD:
                return "must-understand"
        elif said.no_store:
            return "no-store"
        if said.private:
            return "private"
        if authenticated and not self._settings.authorized:
            # Section 3.5.
            allowed = said.public or said.strict or said.shared_max_age != ABSENT
            return "" if allowed else "authorization"
        return ""

    def _read(self, entry: Entry, fields: Fields, hidden: frozenset[bytes]) -> _Read:
        """Take over what may be kept of the fields, and note what they say."""
        read = _Read()
        kept = entry.fields
        for field in fields:
            name = field[0].lower()
            if name in _NOTED:
                self._note(entry, read, name, field)
            if name in self._tags:
                read.tags.append(field[1])
            if name in _NEVER or name in hidden or name == b"set-cookie":
                continue
            if name.startswith(_LIMITS):
                continue
            kept.append(field)
        names = {name for value in read.vary for name in tokens(value)}
        entry.vary = tuple(sorted(names))
        if read.tags:
            entry.tags = _tags(read.tags)
        return read

    def _note(self, entry: Entry, read: _Read, name: bytes, field: Field) -> None:
        value = field[1]
        if name == b"etag":
            entry.etag = _validator(value)
        elif name == b"last-modified":
            entry.modified = value if len(value) <= _LONGEST_VALIDATOR else b""
        elif name == b"date":
            read.date = value
        elif name == b"expires":
            read.expires.append(value)
        elif name == b"age":
            read.age.append(value)
        elif name == b"vary":
            read.vary.append(value)
        elif name == b"access-control-allow-origin":
            # Who allows one origin by its name would have to say so (Fetch standard, "CORS protocol and HTTP caches").
            if value != b"*":
                read.vary.append(b"origin")
        else:
            read.cookies = True

    def _date(self, entry: Entry, read: _Read, said: Control, requested: float, guess: bool) -> bool:
        """Set age and freshness; False where nothing allows to reuse it (RFC 9111 section 3, last item).

        `guess`: where nothing is said of it, too.
        """
        now = entry.received
        date = parse_date(read.date, now) if read.date is not None else None
        told = 0.0
        if read.age:
            line = b", ".join(read.age)
            found = _AGE.fullmatch(line) if len(line) <= _LONGEST_AGE else None
            # In disorder: as old as can be.
            told = float(found[1]) if found is not None else 1e10
        # Section 4.2.3. A Date has whole seconds: what lies behind them is no age.
        apparent = max(0.0, floor(now) - date) if date is not None else 0.0
        entry.age = max(apparent, told + max(0.0, now - requested))
        found_lifetime = self._lifetime(entry, read, said, now if date is None else date, guess)
        if found_lifetime is None and not ((entry.etag or entry.modified) and entry.status in _HEURISTIC):
            return False
        if found_lifetime is None:
            # Nobody said that it may be used again, so nobody uses it before it is validated.
            entry.strict = True
        else:
            entry.lifetime = min(found_lifetime, entry.age + self._settings.max_ttl)
            self._windows(entry, said)
        return True

    def _windows(self, entry: Entry, said: Control) -> None:
        """Set for how long it may be used stale."""
        settings = self._settings
        overridden = settings.ttl is not None and entry.status in _PLAIN
        if said.validate and not overridden:
            entry.lifetime = 0.0
        entry.strict = said.strict or said.strict_shared or (said.validate and not overridden)
        if entry.strict:
            return
        # Section 5.2.2.10: s-maxage forbids stale use as proxy-revalidate does; but who also names a window means it.
        shared = said.shared_max_age != ABSENT
        entry.strict = shared and said.stale_while_revalidate == ABSENT and said.stale_if_error == ABSENT
        for_revalidation, for_errors = said.stale_while_revalidate, said.stale_if_error
        if for_revalidation == ABSENT:
            entry.stale_while_revalidate = 0.0 if shared else settings.stale_while_revalidate
        else:
            entry.stale_while_revalidate = float(for_revalidation)
        if for_errors == ABSENT:
            entry.stale_if_error = 0.0 if shared else settings.stale_if_error
        else:
            entry.stale_if_error = float(for_errors)

    def _lifetime(self, entry: Entry, read: _Read, said: Control, date: float, guess: bool) -> float | None:
        """Return the freshness lifetime (section 4.2.1); None where nothing is said of it."""
        settings, status = self._settings, entry.status
        if settings.ttl is not None and status in _PLAIN:
            return entry.age + settings.ttl
        if said.shared_max_age != ABSENT:
            return float(said.shared_max_age)
        if said.max_age != ABSENT:
            return float(said.max_age)
        if read.expires:
            # The least of several; one in disorder is in the past (section 5.3).
            times = [parse_date(value, entry.received) for value in read.expires]
            return min((then - date if then is not None else 0.0) for then in times)
        if guess and settings.negative is not None and status in settings.negative.statuses:
            return entry.age + settings.negative.ttl
        if status not in _HEURISTIC and not said.public:
            return None
        modified = parse_date(entry.modified, entry.received) if entry.modified else None
        if modified is not None and settings.heuristic and guess:
            return max(0.0, date - modified) * settings.heuristic / 100.0
        if settings.default_ttl and status in _PLAIN and modified is None and guess:
            return entry.age + settings.default_ttl
        return None


_NOTED = frozenset(
    (b"access-control-allow-origin", b"age", b"date", b"etag", b"expires", b"last-modified", b"set-cookie", b"vary")
)


def _validator(value: bytes | None) -> bytes:
    """Return an entity tag; empty for none, and for what is in disorder."""
    if value is None or len(value) > _LONGEST_VALIDATOR or not _ETAG.fullmatch(value):
        return b""
    return value


def _tags(values: list[bytes]) -> tuple[str, ...]:
    """Return the tags in fields that list them, with commas or spaces between."""
    words = b" ".join(values).replace(b",", b" ").decode("latin-1").split()
    found = dict.fromkeys(word for word in words if _TAG.fullmatch(word))
    return tuple(found)[:_MOST_TAGS]

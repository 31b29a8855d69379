"""The rules together, over random courses of requests, times and answers: what comes from the cache was said before, to
somebody who may share it, and not longer ago than it said.

The cache here is the least one that these rules make: a table of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import Fields, RequestHead, ResponseHead
from headgate.policy.cache.answering import answer
from headgate.policy.cache.entry import Entry, Varies, decode
from headgate.policy.cache.key import Keys, merged
from headgate.policy.cache.reuse import Rules
from headgate.policy.cache.settings import Cache

START = 1_800_000_000.0
ANN = Identity("user", "ann", "acme", method="jwt")
BEN = Identity("user", "ben", "other", method="jwt")


class Step(NamedTuple):
    """Some time passes, and somebody asks; the service would answer so."""

    pause: float
    language: bytes
    identity: Identity
    cookie: bool
    asks: bytes
    method: str
    says: bytes
    vary: bytes
    tag: bytes


SAYINGS = (
    *(b"max-age=10", b"max-age=10, public", b"max-age=10, private", b"no-store", b"no-cache", b"", b"s-maxage=7"),
    *(b"max-age=10, must-revalidate", b"max-age=2, stale-while-revalidate=6"),
)
STEPS = st.builds(
    Step,
    st.sampled_from([0.0, 1.0, 5.0, 11.0, 12.0, -20.0]),
    st.sampled_from([b"", b"en"]),
    st.sampled_from([ANONYMOUS, ANN, BEN]),
    st.booleans(),
    st.sampled_from([b"", b"", b"", b"no-cache", b"max-age=3", b"max-stale=4", b"no-store"]),
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]),
    st.sampled_from(SAYINGS),
    st.sampled_from([b"", b"Accept-Language", b"Accept-Language, X-Unused", b"*"]),
    st.sampled_from([b'"1"', b""]),
)


class Given(NamedTuple):
    """What the service once answered, and to whom."""

    when: float
    step: Step


class Course:
    """One course of things. Answers carry their number in a field of their own."""

    def __init__(self) -> None:
        self.rules = Rules(Cache())
        self.keys = Keys(Cache().key, "route")
        self.store: dict[bytes, bytes] = {}
        self.places: dict[bytes, str] = {}
        self.given: list[Given] = []
        self.now = START

    def take(self, step: Step) -> None:
        self.now += step.pause
        head = RequestHead(step.method, b"", "http")
        head.authority, head.path = b"h.test", "/a"
        head.fields = [(b"Accept-Language", step.language)] if step.language else []
        if step.asks:
            head.fields.append((b"Cache-Control", step.asks))
        if step.cookie:
            head.fields.append((b"Cookie", b"a=b"))
        asked = self.rules.read(head)
        if asked.bypass:
            self._forget(self.keys.invalidated(head, ResponseHead(200, [])))
            return
        primary = self.keys.primary(head, self.keys.partition(step.identity), "service")
        key, entry = self._find(primary, head)
        if entry is not None:
            verdict = self.rules.judge(entry, asked, self.now)
            if verdict.use in ("fresh", "revalidate"):
                self._check(step, dict(answer(entry, asked, verdict.age).fields), verdict.age)
                return
        response = self._answered(step)
        if entry is not None and entry.etag and entry.etag == step.tag:
            response = ResponseHead(304, [field for field in response.fields if field[0] != b"Number"])
            renewed = self.rules.validated(entry, response, self.now, self.now)
            self._keep(key, renewed, head)
        elif step.method == "GET":
            made = self.rules.storable(head, response, self.now, self.now, step.identity is not ANONYMOUS)
            if isinstance(made, Entry):
                self._keep(self._named(primary, made, head), made, head)

    def _find(self, primary: bytes, head: RequestHead) -> tuple[bytes, Entry | None]:
        found = decode(self.store.get(primary, b""))
        if isinstance(found, Varies):
            key = self.keys.variant(primary, found.names, head.fields)
            entry = decode(self.store.get(key, b""))
            return key, entry if isinstance(entry, Entry) else None
        return primary, found

    def _named(self, primary: bytes, made: Entry, head: RequestHead) -> bytes:
        known = decode(self.store.get(primary, b""))
        before = known.names if isinstance(known, Varies) else ()
        if not made.vary and not before:
            return primary
        names = merged(made.vary, before)
        self.store[primary] = Varies(names).encode()
        return self.keys.variant(primary, names, head.fields)

    def _keep(self, key: bytes, entry: Entry, head: RequestHead) -> None:
        if self.rules.keep(entry, self.now) > 0:
            self.store[key] = entry.encode()
            self.places[key] = self.keys.url(head)
        else:
            self.store.pop(key, None)

    def _forget(self, urls: list[str]) -> None:
        for key in [key for key, url in self.places.items() if url in urls]:
            self.store.pop(key, None)
        if urls:
            self.given = [one._replace(when=float("-inf")) for one in self.given]

    def _answered(self, step: Step) -> ResponseHead:
        fields: Fields = [(b"Cache-Control", step.says), (b"Number", b"%d" % len(self.given))]
        fields += [(b"Vary", step.vary)] if step.vary else []
        fields += [(b"ETag", step.tag)] if step.tag else []
        self.given.append(Given(self.now, step))
        return ResponseHead(200, fields)

    def _check(self, step: Step, fields: dict[bytes, bytes], age: int) -> None:
        """Hold what came from the cache against what the service said."""
        when, then = self.given[int(fields[b"Number"])]
        assert when > float("-inf"), "made invalid"
        assert then.method == "GET"
        words = {word.strip() for word in then.says.split(b",")}
        assert not words & {b"private", b"no-store"}
        assert then.vary != b"*"
        if then.vary:
            assert then.language == step.language
        assert then.identity.tenant == step.identity.tenant
        if then.identity is not ANONYMOUS:
            assert words & {b"public", b"must-revalidate", b"s-maxage=7"}
        # The last answer that renewed it said for how long; the longest of all windows here is 10 s, and 4 s more for
        # those who ask for that. A clock that goes back makes nothing younger, but for the second that is allowed.
        said = fields[b"Cache-Control"]
        most = 7 if b"s-maxage" in said else 8 if b"while" in said else 10 if b"max-age" in said else 0
        stale = 4 if step.asks == b"max-stale=4" and b"must" not in said and b"s-maxage" not in said else 0
        assert age <= most + stale
        assert step.asks != b"no-cache"
        assert step.asks != b"max-age=3" or age <= 3


@settings(max_examples=200)
@given(st.lists(STEPS, min_size=4, max_size=25))
def test_whatever_happens(steps: list[Step]) -> None:
    course = Course()
    for step in steps:
        course.take(step)


def test_the_course_can_find_fault() -> None:
    """The least course that must be answered from the cache is: else the test above would say nothing."""
    course = Course()
    step = Step(0.0, b"en", ANONYMOUS, False, b"", "GET", b"max-age=10", b"Accept-Language", b'"1"')
    for pause in (0.0, 1.0, 9.5, 1.0):
        course.take(step._replace(pause=pause))
    course.take(step._replace(method="POST"))
    course.take(step)
    # The first, the one that validated it, and the one behind the POST.
    assert len(course.given) == 3

"""From an answer to an entry: what may be stored (RFC 9111 section 3), for how long (4.2), and what a 304 renews."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import Fields, RequestHead, ResponseHead
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.settings import Cache, Negative
from headgate.policy.cache.storing import Storing

NOW = 1_800_000_000.0
ETAG = (b"ETag", b'"x"')
FRESH = (b"Cache-Control", b"max-age=60")


def at(seconds: float) -> bytes:
    return formatdate(NOW + seconds, usegmt=True).encode()


def cc(value: str) -> tuple[bytes, bytes]:
    return (b"Cache-Control", value.encode())


def stored(
    *fields: tuple[bytes, bytes],
    status: int = 200,
    method: str = "GET",
    authenticated: bool = False,
    requested: float = NOW,
    cookie: bytes | None = None,
    **settings: Any,
) -> Entry | str:
    head, response = RequestHead(method, b"", "http"), ResponseHead(status, list(fields))
    if cookie is not None:
        head.fields.append((b"Cookie", cookie))
    return Storing(Cache(**settings)).entry(head, response, requested, NOW, authenticated)


def entry(*fields: tuple[bytes, bytes], **rest: Any) -> Entry:
    found = stored(*fields, **rest)
    assert isinstance(found, Entry), found
    return found


@pytest.mark.parametrize(
    ("fields", "rest", "why"),
    [
        ([FRESH], {"method": "HEAD"}, "method"),
        ([FRESH], {"method": "POST"}, "method"),
        ([FRESH], {"status": 206}, "status"),
        ([FRESH], {"status": 304}, "status"),
        ([FRESH], {"status": 600}, "status"),
        ([cc("no-store, max-age=60")], {}, "no-store"),
        ([cc("No-Store"), FRESH], {}, "no-store"),
        ([cc("private, max-age=60")], {}, "private"),
        ([cc("must-understand, max-age=60")], {"status": 599}, "must-understand"),
        ([FRESH, (b"Set-Cookie", b"a=b")], {}, "set-cookie"),
        ([FRESH, (b"Vary", b"*")], {}, "vary"),
        ([FRESH, (b"Vary", b"A"), (b"Vary", b"B, *")], {}, "vary"),
        ([FRESH], {"authenticated": True}, "authorization"),
        ([cc("max-age=60, proxy-revalidate")], {"authenticated": True}, "authorization"),
        ([], {}, "no-freshness"),
        ([cc("no-cache")], {}, "no-freshness"),
        ([ETAG], {"status": 302}, "no-freshness"),
        ([cc("max-age=0")], {}, "stale"),
        ([FRESH, (b"Age", b"100")], {}, "stale"),
        ([FRESH, (b"Date", at(-100))], {}, "stale"),
    ],
)
def test_what_is_not_stored(fields: Fields, rest: dict[str, Any], why: str) -> None:
    assert stored(*fields, **rest) == why


def test_a_body_that_is_said_to_be_too_long_is_not_stored() -> None:
    response = ResponseHead(200, [FRESH], 101)
    assert (
        Storing(Cache(max_entry=100)).entry(RequestHead("GET", b"", "http"), response, NOW, NOW, False) == "too-large"
    )


@pytest.mark.parametrize("status", [200, 203, 204, 299, 301, 302, 307, 308, 400, 403, 404, 410, 451, 500, 503, 599])
def test_any_final_status_is_stored_that_says_for_how_long(status: int) -> None:
    assert entry(FRESH, status=status).lifetime == 60


@pytest.mark.parametrize(
    ("status", "fields", "lifetime"),
    [
        (200, [cc("max-age=60, s-maxage=5")], 5),
        (200, [cc("s-maxage=60"), cc("max-age=5")], 60),
        (200, [cc("max-age=60"), (b"Expires", at(-1000))], 60),
        (200, [(b"Expires", at(30)), (b"Date", at(0))], 30),
        (200, [(b"Expires", at(30)), (b"Date", at(-10))], 40),
        (200, [(b"Expires", at(30)), (b"Date", b"no date")], 30),
        (200, [(b"Expires", at(90)), (b"Expires", at(30)), (b"Date", at(0))], 30),
        # Heuristic: a tenth of the time since Last-Modified.
        (200, [(b"Last-Modified", at(-1000)), (b"Date", at(0))], 100),
        (404, [(b"Last-Modified", at(-1000))], 100),
        (299, [cc("public"), (b"Last-Modified", at(-1000))], 100),
        (200, [cc("no-cache, max-age=60"), ETAG], 0),
        (200, [ETAG], 0),
        (200, [cc("max-age=0"), ETAG], 0),
        (200, [(b"Expires", b"0"), ETAG], 0),
        (200, [(b"Expires", at(90)), (b"Expires", b"0"), ETAG], 0),
        (200, [cc("max-age=99999999999")], 86400),
        (200, [(b"CDN-Cache-Control", b"max-age=7"), cc("no-store"), (b"Expires", at(90))], 7),
        (200, [(b"Surrogate-Control", b"max-age=7"), cc("private")], 7),
        (200, [(b"CDN-Cache-Control", b""), cc("max-age=5")], 5),
    ],
)
def test_for_how_long_it_is_fresh(status: int, fields: Fields, lifetime: float) -> None:
    assert entry(*fields, status=status).lifetime == pytest.approx(lifetime)


@pytest.mark.parametrize("status", [201, 202, 206, 302, 303, 307, 401, 403, 500, 502, 503, 504, 599])
def test_no_other_status_is_guessed_to_be_fresh(status: int) -> None:
    assert isinstance(stored((b"Last-Modified", at(-1000)), status=status), str)


@pytest.mark.parametrize(
    ("fields", "settings", "status", "lifetime"),
    [
        ([], {"ttl": 9.0}, 200, 9),
        ([cc("max-age=0")], {"ttl": 9.0}, 200, 9),
        ([cc("no-cache")], {"ttl": 9.0}, 301, 9),
        ([FRESH, (b"Age", b"1000")], {"ttl": 9.0}, 200, 1009),
        ([FRESH], {"ttl": 9.0}, 404, 60),
        ([], {"default_ttl": 9.0}, 200, 9),
        ([cc("max-age=5")], {"default_ttl": 9.0}, 200, 5),
        ([(b"Last-Modified", at(-1000))], {"default_ttl": 9.0}, 200, 100),
        ([], {"negative": Negative(ttl=3.0)}, 404, 3),
        ([cc("max-age=5")], {"negative": Negative(ttl=3.0)}, 404, 5),
        ([], {"negative": Negative(statuses=[503], ttl=3.0)}, 503, 3),
        ([cc("max-age=500")], {"max_ttl": 100.0}, 200, 100),
        ([cc("max-age=500"), (b"Age", b"50")], {"max_ttl": 100.0}, 200, 150),
        ([(b"Last-Modified", at(-1000))], {"heuristic": 50.0}, 200, 500),
        ([(b"Last-Modified", at(-1000))], {"heuristic": 0.0}, 200, 0),
    ],
)
def test_what_configuration_says(fields: Fields, settings: dict[str, Any], status: int, lifetime: float) -> None:
    assert entry(*fields, status=status, **settings).lifetime == pytest.approx(lifetime)


@pytest.mark.parametrize(
    ("fields", "settings", "lifetime"),
    [
        ([], {}, 0),
        ([cc("public")], {}, 100),
        ([(b"Vary", b"Cookie")], {}, 100),
        # Somebody has said it: the service, or whoever configured it.
        ([cc("max-age=5")], {}, 5),
        ([], {"ttl": 9.0}, 9),
    ],
)
def test_an_answer_to_cookies_is_not_guessed_to_be_everybodys(
    fields: Fields, settings: dict[str, Any], lifetime: float
) -> None:
    found = entry((b"Last-Modified", at(-1000)), *fields, cookie=b"session=1", **settings)
    assert found.lifetime == pytest.approx(lifetime)


@pytest.mark.parametrize("cookie", [None, b"session=1"])
def test_what_nobody_said_may_be_used_again_is_not_used_stale(cookie: bytes | None) -> None:
    fields = (ETAG,) if cookie is None else (ETAG, (b"Last-Modified", at(-1000)))
    found = entry(*fields, cookie=cookie, stale_while_revalidate=60.0, stale_if_error=60.0)
    assert (found.lifetime, found.stale_while_revalidate, found.stale_if_error, found.strict) == (0, 0, 0, True)


def test_nor_after_it_was_validated() -> None:
    modified = (b"Last-Modified", at(-1000))
    assert renewed(entry(modified, cookie=b"session=1")).lifetime == 0
    assert renewed(entry(modified)).lifetime == pytest.approx(110)
    assert renewed(entry(modified, cookie=b"session=1"), cc("max-age=7")).lifetime == 7


@pytest.mark.parametrize("value", ["no-store", "private"])
def test_no_time_that_is_set_stores_what_must_not_be(value: str) -> None:
    assert isinstance(stored(cc(value), ttl=60.0, default_ttl=60.0, negative=Negative(ttl=5.0)), str)


@pytest.mark.parametrize("value", ["public, max-age=9", "s-maxage=9", "must-revalidate, max-age=9"])
def test_what_allows_to_store_answers_to_those_who_showed_who_they_are(value: str) -> None:
    assert entry(cc(value), authenticated=True).lifetime == 9


def test_configuration_allows_it_too() -> None:
    assert entry(FRESH, authenticated=True, authorized=True).lifetime == 60
    assert stored(cc("private"), authenticated=True, authorized=True) == "private"


def test_no_store_beside_must_understand_is_for_those_who_do_not() -> None:
    assert entry(cc("must-understand, no-store, max-age=9")).lifetime == 9
    assert stored(cc("must-understand, no-store, private, max-age=9")) == "private"


@pytest.mark.parametrize(
    ("fields", "requested", "age"),
    [
        ([], NOW, 0),
        ([(b"Age", b"30")], NOW, 30),
        ([(b"Age", b"30")], NOW - 2, 32),
        ([(b"Age", b"7,0")], NOW, 7),
        ([(b"Date", at(-20))], NOW, 20),
        ([(b"Date", at(-20)), (b"Age", b"30")], NOW - 2, 32),
        ([(b"Date", at(20))], NOW, 0),
        # A clock that went back between question and answer.
        ([(b"Age", b"30")], NOW + 100, 30),
    ],
)
def test_its_age(fields: Fields, requested: float, age: float) -> None:
    assert entry(FRESH, *fields, requested=requested).age == age


@pytest.mark.parametrize("value", [b"abc", b"-7", b"7.0", b"", b"0;a=b", b"0, 0", b"99999999999", b"0" + b",0" * 60])
def test_an_age_in_disorder_is_stale(value: bytes) -> None:
    assert stored(FRESH, (b"Age", value)) == "stale"


def test_two_lines_of_age_are_disorder() -> None:
    assert stored(FRESH, (b"Age", b"0"), (b"Age", b"0")) == "stale"


@pytest.mark.parametrize(
    ("value", "settings", "windows", "strict"),
    [
        ("max-age=9", {}, (0, 0), False),
        ("max-age=9, stale-while-revalidate=5, stale-if-error=7", {}, (5, 7), False),
        ("max-age=9", {"stale_while_revalidate": 3.0, "stale_if_error": 4.0}, (3, 4), False),
        ("max-age=9, stale-if-error=0", {"stale_if_error": 4.0}, (0, 0), False),
        ("max-age=9, must-revalidate, stale-if-error=7", {}, (0, 0), True),
        ("max-age=9, proxy-revalidate", {"stale_if_error": 4.0}, (0, 0), True),
        ("no-cache, stale-while-revalidate=5", {"stale_while_revalidate": 3.0}, (0, 0), True),
        ("s-maxage=9", {"stale_while_revalidate": 3.0, "stale_if_error": 4.0}, (0, 0), True),
        ("s-maxage=9, stale-while-revalidate=5", {"stale_if_error": 4.0}, (5, 0), False),
        ("no-cache", {"ttl": 9.0, "stale_if_error": 4.0}, (0, 4), False),
        ("must-revalidate", {"ttl": 9.0, "stale_if_error": 4.0}, (0, 0), True),
    ],
)
def test_for_how_long_it_may_be_used_stale(
    value: str, settings: dict[str, Any], windows: tuple[float, float], strict: bool
) -> None:
    found = entry(cc(value), ETAG, **settings)
    assert (found.stale_while_revalidate, found.stale_if_error) == windows
    assert found.strict is strict


def test_the_fields_that_are_kept() -> None:
    found = entry(
        cc('max-age=60, no-cache="X-Secret", private=X-Mine'),
        ETAG,
        (b"Age", b"3"),
        (b"Proxy-Authenticate", b"Basic"),
        (b"X-Secret", b"1"),
        (b"x-mine", b"1"),
        (b"RateLimit-Remaining", b"1"),
        (b"X-RateLimit-Limit", b"1"),
        (b"Set-Cookie", b"a=b"),
        (b"Content-Type", b"text/plain"),
        (b"Cache-Tag", b"a, b"),
        set_cookie=True,
    )
    assert [name for name, _ in found.fields] == [b"Cache-Control", b"ETag", b"Content-Type", b"Cache-Tag"]
    assert found.etag == b'"x"'
    assert found.tags == ("a", "b")


def test_tags() -> None:
    found = entry(FRESH, (b"Surrogate-Key", b"a b"), (b"Cache-Tag", b"b,c,\xff, " + b"x" * 300))
    assert found.tags == ("a", "b", "c")
    assert entry(FRESH, (b"Cache-Tag", b"a"), tags=["X-Tag"]).tags == ()
    many = b",".join(b"t%d" % at for at in range(100))
    assert len(entry(FRESH, (b"Cache-Tag", many)).tags) == 64


@pytest.mark.parametrize("tag", [b"x", b"'x'", b'"x', b'"x" ', b'w/"x"', b'"' + b"x" * 2000 + b'"'])
def test_an_entity_tag_in_disorder_validates_nothing(tag: bytes) -> None:
    assert entry(FRESH, (b"ETag", tag)).etag == b""


def test_the_names_it_varies_by() -> None:
    assert entry(FRESH, (b"Vary", b"B, a"), (b"vary", b"A,")).vary == (b"a", b"b")
    assert stored(FRESH, (b"Vary", b",".join(b"n%d" % at for at in range(40)))) == "vary"


def test_how_long_it_is_of_use() -> None:
    storing = Storing(Cache(max_ttl=1000.0))
    found = entry(FRESH, (b"Age", b"10"))
    assert storing.keep(found, NOW) == 110
    assert storing.keep(found, NOW + 60) == 0
    found = entry(cc("max-age=60, stale-if-error=100, stale-while-revalidate=5"))
    assert storing.keep(found, NOW) == 220
    assert storing.keep(entry(cc("max-age=60, must-revalidate")), NOW) == 60
    assert storing.keep(entry(FRESH, ETAG), NOW) == 1060
    assert storing.keep(entry(cc("no-cache"), ETAG), NOW + 5) == 1000


# -- 304 ----------------------------------------------------------------------------------------------------------


def renewed(first: Entry, *fields: tuple[bytes, bytes], later: float = 100.0) -> Entry:
    first.length = 7
    response = ResponseHead(304, [(b"Date", at(later)), *fields])
    return Storing(Cache()).validated(first, response, NOW + later, NOW + later)


def test_a_304_renews_the_fields_that_it_has() -> None:
    first = entry(cc("max-age=1"), ETAG, (b"A", b"1"), (b"B", b"1"), (b"a", b"2"), (b"Content-Encoding", b"gzip"))
    found = renewed(first, cc("max-age=60"), ETAG, (b"A", b"3"), (b"Content-Encoding", b"br"), (b"Content-MD5", b"x"))
    assert sorted(found.fields) == sorted(
        [cc("max-age=60"), ETAG, (b"A", b"3"), (b"B", b"1"), (b"Content-Encoding", b"gzip"), (b"Date", at(100))]
    )
    assert (found.status, found.length, found.lifetime, found.age) == (200, 7, 60, 0)
    assert not found.once
    # The old one was not changed.
    assert first.lifetime == 1


def test_what_is_said_to_caches_like_this_alone_holds_on() -> None:
    found = renewed(entry((b"Surrogate-Control", b"max-age=9"), cc("no-store"), ETAG))
    assert (found.lifetime, found.once) == (9, False)


def test_one_that_says_nothing_leaves_everything_as_it_was() -> None:
    found = renewed(entry(cc("max-age=5, stale-if-error=9"), ETAG, (b"A", b"1"), (b"Date", at(0))))
    assert (found.lifetime, found.age, found.etag, found.stale_if_error) == (5, 0, b'"x"', 9)


def test_one_about_another_answer_changes_no_field() -> None:
    found = renewed(entry(cc("max-age=5"), ETAG, (b"A", b"1")), (b"ETag", b'"y"'), (b"A", b"2"), cc("max-age=90"))
    assert found.etag == b'"x"'
    assert (b"A", b"1") in found.fields
    assert (b"A", b"2") not in found.fields
    assert found.lifetime == 5


def test_a_weak_one_renews_as_well() -> None:
    found = renewed(entry(cc("max-age=5"), ETAG, (b"A", b"1")), (b"ETag", b'W/"x"'), (b"A", b"2"))
    assert (b"A", b"2") in found.fields
    assert found.etag == b'"x"'


@pytest.mark.parametrize("field", [cc("no-store"), cc("private"), (b"Vary", b"X-New")])
def test_one_that_forbids_to_keep_it(field: tuple[bytes, bytes]) -> None:
    found = renewed(entry(FRESH, ETAG), field)
    assert found.once
    assert Storing(Cache()).keep(found, NOW + 100) == 0


def test_one_with_cookies_gives_them_to_nobody() -> None:
    found = renewed(entry(FRESH, ETAG), (b"Set-Cookie", b"a=b"))
    assert (b"Set-Cookie", b"a=b") not in found.fields


# -- invariants ---------------------------------------------------------------------------------------------------

DIRECTIVES = st.sampled_from(
    ("no-store", "private", "no-cache", "public", "must-revalidate", "max-age=10", "s-maxage=20", "max-age=x", "foo")
)
FIELDS = st.lists(
    st.one_of(
        st.lists(DIRECTIVES, max_size=4).map(lambda words: cc(", ".join(words))),
        st.sampled_from([(b"Age", b"5"), (b"Age", b"x"), (b"Expires", at(15)), (b"Expires", b"0"), (b"Vary", b"*")]),
        st.sampled_from([(b"Set-Cookie", b"a=b"), (b"Date", at(-3)), (b"Last-Modified", at(-500)), ETAG]),
    ),
    max_size=5,
)


@given(FIELDS, st.booleans(), st.sampled_from([200, 204, 302, 404, 500, 599]))
def test_never_fresher_than_it_said_and_never_what_must_not_be(fields: Fields, shown: bool, status: int) -> None:
    found = stored(*fields, authenticated=shown, status=status, heuristic=10.0)
    if isinstance(found, str):
        return
    said = b",".join(value for name, value in fields if name == b"Cache-Control")
    words = [word.strip() for word in said.split(b",")]
    assert b"private" not in words
    assert b"no-store" not in words or b"must-understand" in words
    names = {name for name, _ in fields}
    assert b"Set-Cookie" not in names
    assert (b"Vary", b"*") not in fields
    if shown:
        assert {b"public", b"must-revalidate", b"s-maxage=20"} & set(words)
    most = 20 if b"s-maxage=20" in words else 10 if b"max-age=10" in words else 18 if b"Expires" in names else 50
    assert found.lifetime <= most
    if b"no-cache" in words or (b"max-age=x" in words and b"s-maxage=20" not in words):
        assert found.lifetime == 0
    if found.strict:
        assert found.stale_if_error == found.stale_while_revalidate == 0
    assert found.age >= 0

"""Which requests are the same: path, query, fields, callers; and what unsafe methods and purges name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import Fields, RequestHead, ResponseHead
from headgate.core.uri import BadTarget
from headgate.policy.cache.key import Keys, merged, purge_url, values_of
from headgate.policy.cache.settings import CacheKey

ANN = Identity("user", "ann", "acme", method="jwt")
BEN = Identity("user", "ben", "acme", method="jwt")
CAT = Identity("user", "cat", "", method="jwt")


def request(
    path: str = "/a", query: bytes | None = None, fields: Fields | None = None, method: str = "GET"
) -> RequestHead:
    head = RequestHead(method, b"", "http")
    head.host, head.authority, head.port = "h.test", b"h.test", 80
    head.path, head.query, head.fields = path, query, fields or []
    return head


def keys(**settings: Any) -> Keys:
    return Keys(CacheKey(**settings), "route")


def same(one: RequestHead, other: RequestHead, **settings: Any) -> bool:
    made = keys(**settings)
    return made.primary(one, b"", "s") == made.primary(other, b"", "s")


@pytest.mark.parametrize(
    ("one", "other", "settings", "alike"),
    [
        (b"a=1&b=2", b"b=2&a=1", {}, True),
        (b"a=1&b=2", b"b=2&a=1", {"ordered": True}, False),
        (b"a=1&a=2", b"a=2&a=1", {}, False),
        (b"a=1", b"a=2", {}, False),
        (b"a=1", b"A=1", {}, False),
        (b"a=1", None, {}, False),
        (b"", None, {}, False),
        (b"a=1&utm_source=x", b"a=1", {"exclude": ["utm_*"]}, True),
        (b"a=1&fbclid=x", b"a=1", {"exclude": ["fbclid"]}, True),
        (b"a=1&fbclid2=x", b"a=1", {"exclude": ["fbclid"]}, False),
        (b"a=1&fb%63lid=x", b"a=1", {"exclude": ["fbclid"]}, True),
        # What some applications read as two parameters must not hide the second.
        (b"utm_source=x;a=2", b"utm_source=x;a=3", {"exclude": ["utm_*"]}, False),
        (b"a=1&b=2", b"a=1&b=3", {"query": "none", "include": ["a"]}, True),
        (b"a=1&b=2", b"a=2&b=2", {"query": "none", "include": ["a"]}, False),
        (b"%61=1", b"%61=2", {"query": "none", "include": ["a"]}, False),
        (b"b=1;a=1", b"b=1;a=2", {"query": "none", "include": ["a"]}, False),
        (b"a=1", b"a=2", {"query": "none"}, True),
    ],
)
def test_queries(one: bytes | None, other: bytes | None, settings: dict[str, Any], alike: bool) -> None:
    assert same(request(query=one), request(query=other), **settings) is alike


@given(st.lists(st.sampled_from([b"a=1", b"a=2", b"b=1", b"%61=3", b"", b"utm_x=1", b"c;utm_y=1"]), max_size=6))
def test_what_is_remembered_is_what_was_found(pieces: list[bytes]) -> None:
    query = b"&".join(pieces)
    made = keys(exclude=["utm_*"])
    first = made.primary(request(query=query), b"", "s")
    assert made.primary(request(query=query), b"", "s") == first
    assert keys(exclude=["utm_*"]).primary(request(query=query), b"", "s") == first
    long = b"&".join([*pieces, b"long=" + b"x" * 300])
    assert made.primary(request(query=long), b"", "s") != first


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    made = keys()
    for at in range(3000):
        made.primary(request(query=b"b=%d&a=1" % at), b"", "s")
    assert len(made._queries) <= 1024


def test_get_and_head_are_the_same() -> None:
    assert same(request(), request(method="HEAD"))


def test_scheme_authority_path_route_and_service_count() -> None:
    plain = request()
    secure, other = request(), request()
    secure.scheme = "https"
    other.authority = b"h.test:81"
    made = keys()
    found = {made.primary(head, b"", "s") for head in (plain, secure, other, request("/b"))}
    found |= {made.primary(plain, b"", "t"), Keys(CacheKey(), "other").primary(plain, b"", "s")}
    assert len(found) == 6
    assert all(len(key) == 20 for key in found)


def test_fields_that_configuration_names() -> None:
    one, other = request(fields=[(b"X-Device", b"a")]), request(fields=[(b"X-Device", b"b")])
    assert same(one, other)
    assert not same(one, other, headers=["x-device"])
    assert not same(one, request(), headers=["x-device"])


@given(st.lists(st.binary(max_size=6), min_size=2, max_size=4), st.lists(st.binary(max_size=6), min_size=2, max_size=4))
def test_parts_never_run_into_each_other(one: list[bytes], other: list[bytes]) -> None:
    made = keys()
    first = made.variant(one[0], tuple(one[1:]), request().fields)
    second = made.variant(other[0], tuple(other[1:]), request().fields)
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("one", "other", "partition", "alike"),
    [
        (ANN, BEN, "auto", True),
        (ANN, CAT, "auto", False),
        (ANN, ANONYMOUS, "auto", False),
        (CAT, CAT._replace(method="api_key"), "auto", False),
        (ANN, BEN, "identity", False),
        (ANN, ANN._replace(tenant="other"), "identity", False),
        (ANN, ANONYMOUS, "shared", True),
        (CAT, Identity("user", "x", "cat", method="jwt"), "auto", False),
    ],
)
def test_who_shares(one: Identity, other: Identity, partition: str, alike: bool) -> None:
    made = keys(partition=partition)
    assert (made.partition(one) == made.partition(other)) is alike


IDENTITIES = st.builds(
    Identity,
    st.sampled_from(["user", "api_key", "service"]),
    st.sampled_from(["", "a", "b", "ab"]),
    st.sampled_from(["", "a", "b"]),
    roles=st.just(frozenset[str]()),
    tier=st.just("t"),
    scopes=st.just(frozenset[str]()),
    claims=st.just({}),
    method=st.sampled_from(["a", "b"]),
)


@given(IDENTITIES, IDENTITIES)
def test_one_tenant_never_gets_what_another_was_answered(one: Identity, other: Identity) -> None:
    made = keys()
    assert made.partition(one) != b""
    if made.partition(one) == made.partition(other):
        assert one.tenant == other.tenant
        assert one.tenant or (one.kind, one.id, one.method) == (other.kind, other.id, other.method)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ([b"1, 2"], [b"1", b"2"], True),
        ([b"1,2"], [b" 1, 2 "], True),
        ([b"1"], [b"2"], False),
        ([b"1"], [], False),
        ([b""], [], False),
        ([b"2, 1"], [b"1, 2"], False),
    ],
)
def test_values_of_fields_that_answers_vary_by(one: list[bytes], other: list[bytes], alike: bool) -> None:
    names = (b"x-a",)
    first = values_of([(b"X-A", value) for value in one], names)
    assert (first == values_of([(b"x-a", value) for value in other], names)) is alike


@pytest.mark.parametrize("name", [b"Accept-Encoding", b"Accept-Language"])
def test_lists_whose_order_means_nothing(name: bytes) -> None:
    names = (name.lower(),)
    assert values_of([(name, b"br, gzip")], names) == values_of([(name, b"GZip ,br")], names)
    assert values_of([(name, b"br;q=0.5, gzip")], names) != values_of([(name, b"br, gzip")], names)


def test_names_are_gathered_up_to_a_bound() -> None:
    assert merged((b"b",), (b"a",)) == (b"a", b"b")
    many = tuple(b"%d" % at for at in range(20))
    assert merged((b"b",), many) == (b"b",)


# -- URLs ---------------------------------------------------------------------------------------------------------


def test_a_purge_finds_what_was_stored() -> None:
    assert keys().url(request("/a", b"b=2&a=1")) == purge_url("HTTP://H.test:80/x/../a?a=1&b=2")
    assert keys().url(request("/a")) == purge_url("http://h.test/a")
    made = keys(exclude=["utm_*"])
    assert made.url(request("/a", b"b=2&utm_x=1&a=1")) == made.written("HTTP://h.test:80/a?utm_x=2&a=1&b=2")
    assert made.url(request("/a", b"utm_x=1")) == made.written("http://h.test/a")


@pytest.mark.parametrize("text", ["", "/a", "h.test/a", "ftp://h.test/", "http:///a", "http://h.test/\u00e9", "*"])
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(BadTarget):
        purge_url(text)


@pytest.mark.parametrize(
    ("method", "status", "fields", "urls"),
    [
        ("POST", 200, [], ["http://h.test/a?x=1"]),
        ("M-SEARCH", 204, [], ["http://h.test/a?x=1"]),
        ("DELETE", 302, [], ["http://h.test/a?x=1"]),
        ("POST", 400, [], []),
        ("POST", 500, [], []),
        ("GET", 200, [(b"Location", b"/b")], []),
        ("POST", 201, [(b"Location", b"/b")], ["http://h.test/a?x=1", "http://h.test/b"]),
        ("POST", 201, [(b"Content-Location", b"b?z=1&y=2")], ["http://h.test/a?x=1", "http://h.test/b?y=2&z=1"]),
        ("PUT", 200, [(b"Location", b"http://H.TEST:80/c")], ["http://h.test/a?x=1", "http://h.test/c"]),
        ("PUT", 200, [(b"Location", b"http://evil.test/c")], ["http://h.test/a?x=1"]),
        ("PUT", 200, [(b"Location", b"https://h.test/c")], ["http://h.test/a?x=1"]),
        ("PUT", 200, [(b"Location", b"//[bad")], ["http://h.test/a?x=1"]),
        ("PUT", 200, [(b"Location", b"\xff")], ["http://h.test/a?x=1"]),
    ],
)
def test_what_an_unsafe_method_makes_invalid(method: str, status: int, fields: Fields, urls: list[str]) -> None:
    assert keys().invalidated(request(query=b"x=1", method=method), ResponseHead(status, fields)) == urls

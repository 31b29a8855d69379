"""A scope becomes the head that our own connections would have made of the same request, or is refused as there."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.asgi.head import head_of, refused_head, target_of
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH
from headgate.wire.head import HeadReader
from headgate.wire.http1 import request_kinds, response_kinds
from headgate.wire.settings import HttpLimits
from tests.asgi.stage import request

HEADS = HeadReader(HttpLimits(), "http", request_kinds(["X-Request-ID"], "drop"), response_kinds())


@pytest.mark.parametrize(
    ("scope", "target"),
    [
        ({"path": "/a b", "raw_path": b"/a%20b"}, b"/a%20b"),
        ({"path": "/a b/ü", "raw_path": None}, b"/a%20b/%C3%BC"),
        ({"path": "/gw/a", "raw_path": b"/gw/a", "root_path": "/gw"}, b"/a"),
        ({"path": "/gw", "raw_path": b"/gw", "root_path": "/gw"}, b"/"),
        ({"path": "/gwen", "raw_path": b"/gwen", "root_path": "/gw"}, b"/gwen"),
        ({"path": "/a", "raw_path": b"/a", "query_string": b"b=%20&c"}, b"/a?b=%20&c"),
    ],
)
def test_the_target_is_what_the_client_sent(scope: dict[str, Any], target: bytes) -> None:
    assert target_of(request() | scope) == target


def test_paths_and_hosts_are_in_their_normal_form() -> None:
    head = head_of(HEADS, request("/a/../b//c?x=1") | {"headers": [(b"host", b"GW.Test:80")]})
    assert (head.path, head.query, head.host, head.port) == ("/b/c", b"x=1", "gw.test", 80)


def test_fields_of_a_connection_go_no_further() -> None:
    fields = ("connection", "keep-alive, x-mine"), ("x-mine", "1"), ("te", "trailers"), ("x-yours", "2")
    head = head_of(HEADS, request("/", *fields, ("x-forwarded-for", "192.0.2.1"), ("x-request-id", "abc")))
    assert head.fields == [(b"x-yours", b"2")]
    assert head.forwarding == [(b"x-forwarded-for", b"192.0.2.1")]
    assert head.ids == [(b"x-request-id", b"abc")]


@pytest.mark.parametrize(
    ("fields", "version", "length"),
    [
        ((), "1.1", 0),
        ((("content-length", "7"),), "1.1", 7),
        ((("transfer-encoding", "chunked"),), "1.1", UNKNOWN_LENGTH),
        ((), "2", UNKNOWN_LENGTH),
        ((("content-length", "7"),), "2", 7),
    ],
)
def test_the_length_is_what_is_said_of_it(fields: tuple[tuple[str, str], ...], version: str, length: int) -> None:
    assert head_of(HEADS, request("/", *fields, http_version=version)).length == length


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ({"method": "TRACE"}, "method_not_allowed"),
        ({"method": "BREW"}, "coding_not_implemented"),
        ({"raw_path": b"/a\xff"}, "bad_path"),
        ({"raw_path": b"/a%2Fb"}, "bad_path"),
        ({"raw_path": b"/" + b"a" * 9000}, "uri_too_long"),
        ({"headers": []}, "bad_host"),
        ({"headers": [(b"host", b"a"), (b"host", b"b")]}, "bad_host"),
        ({"headers": [(b"host", b"a"), (b"x y", b"1")]}, "bad_request"),
        ({"headers": [(b"host", b"a"), (b"x", b"1\r\nevil: 1")]}, "bad_request"),
        ({"headers": [(b"host", b"a"), (b"x", b"1\x00")]}, "bad_request"),
        ({"headers": [(b"host", b"a"), (b"content-length", b"1"), (b"content-length", b"2")]}, "bad_request"),
        ({"headers": [(b"host", b"a"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked")]}, "bad_request"),
        ({"headers": [(b"host", b"a"), (b"transfer-encoding", b"gzip")]}, "coding_not_implemented"),
        ({"headers": [(b"host", b"a"), *[(b"x", b"1")] * 200]}, "headers_too_large"),
        ({"headers": [(b"host", b"a"), (b"x", b"1" * 9000)]}, "headers_too_large"),
        ({"headers": [(b"host", b"a"), (b"expect", b"more")]}, "expectation_failed"),
    ],
)
def test_what_is_not_well_formed_is_refused_whatever_the_server_let_through(scope: dict[str, Any], reason: str) -> None:
    with pytest.raises(Failure) as failure:
        head_of(HEADS, request() | scope)
    assert failure.value.reason == reason


def test_a_refused_request_is_named_without_its_query() -> None:
    head = refused_head(request("/a?token=1") | {"method": "BR\nEW"}, "http")
    assert (head.method, head.path) == ("-", "/a")

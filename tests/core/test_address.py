"""Addresses as operators write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.address import ListenAddress, is_loopback, parse_endpoint, parse_listen, parse_resource
from headgate.core.endpoint import Endpoint


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", ListenAddress("0.0.0.0", 8080)),
        ("LocalHost:0", ListenAddress("localhost", 0)),
        (":80", ListenAddress("", 80)),
        ("[::]:443", ListenAddress("::", 443)),
        ("[0:0::1]:443", ListenAddress("::1", 443)),
        ("unix:/run/gw.sock", ListenAddress("", 0, "/run/gw.sock")),
    ],
)
def test_listen(text: str, address: ListenAddress) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "80",
        "localhost",
        "localhost:",
        "a:65536",
        "a:-1",
        "a:8O",
        "::1:80",
        "a b:80",
        "unix:",
        "unix:gw",
        "unix:/" + "x" * 120,
    ],
)
def test_no_listen(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_listen(text)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://a", Endpoint("a:80", "http", "a", 80, weight=3)),
        ("https://A.example.", Endpoint("a.example:443", "https", "a.example", 443, weight=3)),
        ("http://a:/", Endpoint("a:80", "http", "a", 80, weight=3)),
        ("http://[::1]:8001/v1//x/", Endpoint("[::1]:8001", "http", "[::1]", 8001, prefix="/v1/x", weight=3)),
        ("http://10.0.0.1:8001", Endpoint("10.0.0.1:8001", "http", "10.0.0.1", 8001, weight=3)),
        ("unix:/run/a.sock", Endpoint("unix:/run/a.sock", "http", "localhost", 80, "/run/a.sock", weight=3)),
    ],
)
def test_endpoint(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url, 3) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a",
        "a:80",
        "//a",
        "ftp://a",
        "http:/a",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:x",
        "http://a:99999",
        "http://u@a",
        "http://u:p@a",
        "http://a?b",
        "http://a#b",
        "http://a/%zz",
        "http://a/../..",
        "http://::1",
        "http://[::1",
        "http://1.2.3",
        "unix:a",
    ],
)
def test_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_endpoint(url)


@given(st.text() | st.text().map("http://{}".format) | st.text(alphabet="[]:/.a1@?#% ").map("http://{}".format))
def test_any_text_is_an_endpoint_or_a_sentence(text: str) -> None:
    for parse in (parse_endpoint, parse_listen):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("url", "name", "target"),
    [
        ("https://idp.example/oauth/introspect/", "idp.example:443", b"/oauth/introspect/"),
        ("http://127.0.0.1:9000", "127.0.0.1:9000", b"/"),
        ("http://127.0.0.1:9000?tenant=1&x=%20", "127.0.0.1:9000", b"/?tenant=1&x=%20"),
        ("HTTP://[::1]:9000/a//b/../c", "[::1]:9000", b"/a//b/../c"),
        ("unix:/run/idp.sock", "unix:/run/idp.sock", b"/"),
        ("unix:/run/idp.sock:/check?x", "unix:/run/idp.sock", b"/check?x"),
    ],
)
def test_one_thing_on_a_server(url: str, name: str, target: bytes) -> None:
    resource = parse_resource(url)
    assert (resource.endpoint.name, resource.target, resource.endpoint.prefix) == (name, target, "")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/introspect",
        "idp.example/introspect",
        "ftp://idp.example/",
        "http:///introspect",
        "http://user:secret@idp.example/",
        "http://idp.example/#top",
        "http://idp.example/a b",
        "http://idp.example/{path}",
        "http://idp.example/a\r\nX: y",
        "http://idp.example:0/",
        "unix:run",
        "unix:/run/idp.sock:check",
    ],
)
def test_no_thing_on_a_server(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        parse_resource(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("", False),
        ("0.0.0.0", False),
        ("[::]", False),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_what_can_only_be_this_machine(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours

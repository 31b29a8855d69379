"""One normal form of targets, hosts and paths: the tables of attacks, and the invariants of the form."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headgate.core.uri import (
    REASONS,
    BadTarget,
    Target,
    is_under,
    join,
    normalize_host,
    normalize_path,
    parse_authority,
    rewritten,
    split_target,
)

SAME_PATH = [
    (b"/", "/"),
    (b"/v1/chat", "/v1/chat"),
    (b"/v1/chat/", "/v1/chat/"),
    (b"/a-b_c~d.e/!$&'()*+,=:@", "/a-b_c~d.e/!$&'()*+,=:@"),
    (b"/.well-known/x", "/.well-known/x"),
    (b"/...", "/..."),
    (b"/..a/.b", "/..a/.b"),
    (b"/a;v=1/b", "/a;v=1/b"),
    (b"/caf%c3%a9", "/caf%C3%A9"),
    (b"/%7euser/%41%2d%5f%2e%2Ex", "/~user/A-_..x"),
    (b"/a%20b%3f%23%25", "/a%20b%3F%23%25"),
    (b'/a[0]|"<>^`{}', "/a%5B0%5D%7C%22%3C%3E%5E%60%7B%7D"),
    (b"//a///b//", "/a/b/"),
    (b"/a/./b/.", "/a/b/"),
    (b"/a/b/..", "/a/"),
    (b"/a/b/../c", "/a/c"),
    (b"/a/..", "/"),
    (b"/a//../b", "/b"),
    (b"/a/%2e%2E/b", "/b"),
    (b"/a/.%2e/%2e/b", "/b"),
    (b"/%252e%252e/x", "/%252e%252e/x"),
]


@pytest.mark.parametrize(("raw", "normal"), SAME_PATH)
def test_path_normal_form(raw: bytes, normal: str) -> None:
    assert normalize_path(raw) == normal


BAD_PATH = [
    (b"", "no_leading_slash"),
    (b"a/b", "no_leading_slash"),
    (b"%2Fa", "no_leading_slash"),
    (b"/..", "climbs_above_root"),
    (b"/a/../../b", "climbs_above_root"),
    (b"/%2e%2e/etc/passwd", "climbs_above_root"),
    (b"//../a", "climbs_above_root"),
    (b"/a%2fb", "encoded_slash"),
    (b"/a/..%2F..%2Fb", "encoded_slash"),
    (b"/a%5cb", "backslash"),
    (b"/a/..\\b", "backslash"),
    (b"/a%00.png", "control"),
    (b"/a%0d%0ax", "control"),
    (b"/a\x00", "control"),
    (b"/a b", "control"),
    (b"/a\x7f", "control"),
    (b"/caf\xc3\xa9", "not_ascii"),
    (b"/a#b", "fragment"),
    (b"/a?b", "query"),
    (b"/a%", "bad_escape"),
    (b"/a%4", "bad_escape"),
    (b"/a%4g", "bad_escape"),
    (b"/%u002e%u002e/", "bad_escape"),
    (b"/%%32%65", "bad_escape"),
    (b"/a/..;/admin", "dot_parameter"),
    (b"/a/.;x=1/admin", "dot_parameter"),
    (b"/a/;/admin", "dot_parameter"),
    (b"/;a=b/admin", "dot_parameter"),
    (b"/a/%2e%2e;/admin", "dot_parameter"),
    (b"/a/..%3b/admin", "dot_parameter"),
    (b"/%c0%ae%c0%ae/x", "overlong_utf8"),
    (b"/a%C0%afb", "overlong_utf8"),
    (b"/a%e0%80%afb", "overlong_utf8"),
    (b"/a%f0%80%80%afb", "overlong_utf8"),
]


@pytest.mark.parametrize(("raw", "reason"), BAD_PATH)
def test_path_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(BadTarget) as caught:
        normalize_path(raw)
    assert caught.value.reason == reason
    assert str(caught.value) == REASONS[reason]


def test_slashes_stay_when_told() -> None:
    assert normalize_path(b"/a//b//", merge_slashes=False) == "/a//b//"
    assert normalize_path(b"/a//../b", merge_slashes=False) == "/a/b"
    assert normalize_path(b"//", merge_slashes=False) == "//"


def test_encoded_slashes_stay_encoded_when_told() -> None:
    assert normalize_path(b"/v1/models/org%2fname", encoded_slashes=True) == "/v1/models/org%2Fname"


@pytest.mark.parametrize(
    "raw", [b"/a/..%2fb", b"/a%2f../b", b"/a%2f..", b"/a%2f.%2fb", b"/a/%2e%2e%2f", b"/%2f..", b"/x%2f%2e"]
)
def test_encoded_slash_hides_no_climb(raw: bytes) -> None:
    with pytest.raises(BadTarget, match="climbs above"):
        normalize_path(raw, encoded_slashes=True)


def test_encoded_slash_hides_no_dot_parameter() -> None:
    with pytest.raises(BadTarget) as caught:
        normalize_path(b"/a%2f..;/b", encoded_slashes=True)
    assert caught.value.reason == "dot_parameter"


# Fragments of real attacks, so that hypothesis combines them instead of guessing percent signs.
_PIECES = st.sampled_from(
    [b"/", b"//", b".", b"..", b"%2e", b"%2E%2e", b"%2f", b"%5c", b";", b"%3b", b"a", b"%41", b"%c3%a9",
     b"%25", b"%", b"\\", b"[", b"%00", b"?", b"#", b"\xff", b"~", b"%7E"]
)  # fmt: skip
_PATHS = st.lists(_PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces)) | st.binary(max_size=30)


@given(raw=_PATHS, merge=st.booleans(), encoded=st.booleans())
def test_normal_form_is_a_fixed_point(raw: bytes, merge: bool, encoded: bool) -> None:
    try:
        normal = normalize_path(raw, merge, encoded)
    except BadTarget as error:
        assert error.reason in REASONS
        return
    assert normalize_path(normal.encode("ascii"), merge, encoded) == normal


@given(raw=_PATHS)
def test_normal_form_holds_nothing_to_disagree_about(raw: bytes) -> None:
    try:
        normal = normalize_path(raw)
    except BadTarget:
        return
    assert normal.startswith("/")
    assert "//" not in normal
    assert not {".", ".."} & {segment.partition(";")[0] for segment in normal.split("/")}
    assert "%2F" not in normal.upper()
    assert "%5C" not in normal.upper()
    assert re.fullmatch(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+", normal)


@given(raw=_PATHS)
def test_fast_and_slow_way_agree(raw: bytes) -> None:
    """A copy with one escaped letter behind it takes the slow way and must come to the same form."""
    try:
        fast = normalize_path(raw)
    except BadTarget as error:
        assume(error.reason != "no_leading_slash")
        with pytest.raises(BadTarget):
            normalize_path(raw + b"/%41")
        return
    assert normalize_path(raw + b"/%41") == fast.rstrip("/") + "/A"


TARGETS = [
    (b"/a?b=c?d", Target("origin", b"/a", b"b=c?d", None, None)),
    (b"/a", Target("origin", b"/a", None, None, None)),
    (b"/a?", Target("origin", b"/a", b"", None, None)),
    (b"//evil/x", Target("origin", b"//evil/x", None, None, None)),
    (b"*", Target("asterisk", b"*", None, None, None)),
    (b"http://h.test:81/a?b", Target("absolute", b"/a", b"b", "http", b"h.test:81")),
    (b"HTTPS://H", Target("absolute", b"/", None, "https", b"H")),
    (b"http://h?q=/x", Target("absolute", b"/", b"q=/x", "http", b"h")),
    (b"http://u@h/", Target("absolute", b"/", None, "http", b"u@h")),
    (b"http:///x", Target("absolute", b"/x", None, "http", b"")),
    (b"h.test:443", Target("authority", b"", None, None, b"h.test:443")),
    (b"?x", Target("authority", b"", None, None, b"?x")),
]


@pytest.mark.parametrize(("raw", "target"), TARGETS)
def test_split_target(raw: bytes, target: Target) -> None:
    assert split_target(raw) == target


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty_target"),
        (b"/a#b", "fragment"),
        (b"/a?b#c", "fragment"),
        (b"/a?b c", "control"),
        (b"/a?b\x00", "control"),
        (b"/a?\xc3\xa9", "not_ascii"),
        (b"ftp://h/", "bad_scheme"),
        (b"javascript://h/", "bad_scheme"),
    ],
)
def test_split_target_refuses(raw: bytes, reason: str) -> None:
    with pytest.raises(BadTarget) as caught:
        split_target(raw)
    assert caught.value.reason == reason


AUTHORITIES = [
    (b"example.test", ("example.test", 80)),
    (b"EXAMPLE.Test.:8080", ("example.test", 8080)),
    (b"example.test:", ("example.test", 80)),
    (b"my_service-1", ("my_service-1", 80)),
    (b"127.0.0.1:65535", ("127.0.0.1", 65535)),
    (b"[::1]", ("[::1]", 80)),
    (b"[2001:DB8:0:0::1]:443", ("[2001:db8::1]", 443)),
    (b"xn--bcher-kva.example", ("xn--bcher-kva.example", 80)),
    (b"1.2.3.4.example", ("1.2.3.4.example", 80)),
]


@pytest.mark.parametrize(("raw", "parsed"), AUTHORITIES)
def test_authority(raw: bytes, parsed: tuple[str, int]) -> None:
    assert parse_authority(raw, 80) == parsed


@pytest.mark.parametrize(("raw", "parsed"), AUTHORITIES)
def test_authority_is_a_fixed_point(raw: bytes, parsed: tuple[str, int]) -> None:
    host, port = parsed
    assert parse_authority(f"{host}:{port}".encode(), 1) == parsed
    assert normalize_host(host) == host


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty_host"),
        (b":80", "empty_host"),
        (b".", "empty_host"),
        (b"a..b", "bad_host"),
        (b"a..", "bad_host"),
        (b".a", "bad_host"),
        (b"user@host", "bad_host"),
        (b"user:pass@host", "bad_authority"),
        (b"host/path", "bad_host"),
        (b"host:80/path", "bad_authority"),
        (b"a, b", "bad_host"),
        (b"a,b", "bad_host"),
        (b" a", "bad_host"),
        (b"a\t", "bad_host"),
        (b"a?b", "bad_host"),
        (b"a#b", "bad_host"),
        (b"a\\b", "bad_host"),
        (b"a%2eb", "bad_host"),
        (b"a\x00b", "bad_host"),
        (b"a\n", "bad_host"),
        (b"a:80\n", "bad_authority"),
        (b"b\xc3\xbccher", "not_ascii"),
        (b"a" * 64, "bad_host"),
        (b".".join([b"a" * 50] * 6), "bad_host"),
        (b"a:0", "bad_port"),
        (b"a:65536", "bad_port"),
        (b"a:" + b"9" * 5000, "bad_port"),
        (b"a:+80", "bad_authority"),
        (b"a:80:80", "bad_authority"),
        (b"::1", "bad_authority"),
        (b"[::1", "bad_authority"),
        (b"::1]", "bad_authority"),
        (b"[::1]a", "bad_authority"),
        (b"[]", "bad_ipv6"),
        (b"[1.2.3.4]", "bad_ipv6"),
        (b"[fe80::1%25eth0]", "bad_ipv6"),
        (b"[fe80::1%eth0]", "bad_ipv6"),
        (b"[v1.a]", "bad_ipv6"),
        (b"[::1::]", "bad_ipv6"),
        (b"127.1", "bad_ipv4"),
        (b"2130706433", "bad_ipv4"),
        (b"0177.0.0.1", "bad_ipv4"),
        (b"0x7f.1", "bad_ipv4"),
        (b"256.1.1.1", "bad_ipv4"),
        (b"1.2.3.4.5", "bad_ipv4"),
    ],
)
def test_authority_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(BadTarget) as caught:
        parse_authority(raw, 80)
    assert caught.value.reason == reason


@given(raw=st.binary(max_size=40))
def test_any_authority_is_parsed_or_refused(raw: bytes) -> None:
    try:
        host, port = parse_authority(raw, 80)
    except BadTarget as error:
        assert error.reason in REASONS
        return
    assert parse_authority(f"{host}:{port}".encode(), 80) == (host, port)


@pytest.mark.parametrize(
    ("path", "prefix", "under"),
    [
        ("/api", "/api", True),
        ("/api/", "/api", True),
        ("/api/x", "/api/", True),
        ("/api", "/api/", True),
        ("/apix", "/api", False),
        ("/ap", "/api", False),
        ("/x", "/", True),
        ("/", "/", True),
    ],
)
def test_is_under_stops_at_segments(path: str, prefix: str, under: bool) -> None:
    assert is_under(path, prefix) is under


def test_rewriting_is_judged_anew() -> None:
    assert rewritten("/api/x", "/api") == "/api/x"
    assert rewritten("/api//x/%2e/") == "/api/x/"
    for path, reason in [
        ("/api/../x", "leaves_prefix"),
        ("/apix", "leaves_prefix"),
        ("/../x", "climbs_above_root"),
        ("x", "no_leading_slash"),
        ("/café", "not_ascii"),
    ]:
        with pytest.raises(BadTarget) as caught:
            rewritten(path, "/api")
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("prefix", "rest", "joined"),
    [
        ("/", "/x", "/x"),
        ("", "", "/"),
        ("/", "/", "/"),
        ("/base", "", "/base"),
        ("/base", "/", "/base/"),
        ("/base/", "/x", "/base/x"),
        ("/base", "x", "/base/x"),
    ],
)
def test_join(prefix: str, rest: str, joined: str) -> None:
    assert join(prefix, rest) == joined


def test_join_never_leaves_the_prefix() -> None:
    with pytest.raises(BadTarget) as caught:
        join("/base", "/../secret")
    assert caught.value.reason == "leaves_prefix"

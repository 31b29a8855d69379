"""Client addresses and the forwarded block: who is believed, and what a stranger may not forge."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.forwarded import Client, ForwardedRules, Hop, TrustPolicy, parse_address
from headgate.wire.http1 import FORWARDING_NAMES

Pair = tuple[bytes, bytes]

CLIENT = "203.0.113.9"
PROXY = "10.0.0.1"


def hop(peer: str, *trust: str, hops: int = 0, scheme: str = "http", forwarded: bool = False) -> Hop:
    return Hop(ForwardedRules(TrustPolicy(trust, hops), send_forwarded=forwarded), peer, scheme)


def block(client: Client) -> dict[str, str]:
    named = {name.decode(): value.decode() for name, value in client.pairs}
    assert len(named) == len(client.pairs), "a field twice"
    return named


def xff(*values: str) -> list[Pair]:
    return [(b"x-forwarded-for", value.encode()) for value in values]


def test_nobody_is_believed_by_default() -> None:
    forged = [(name, b"127.0.0.1") for name in FORWARDING_NAMES]
    client = hop(CLIENT).client("shop.test", 80, forged)
    assert client[:4] == (CLIENT, "http", "shop.test", 80)
    assert block(client) == {
        "X-Forwarded-For": CLIENT,
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "shop.test",
        "X-Forwarded-Port": "80",
        "X-Real-IP": CLIENT,
        "Via": "1.1 headgate",
    }


def test_block_is_made_once_for_a_host() -> None:
    conn = hop(CLIENT)
    first = conn.client("a.test", 80, [])
    assert conn.client("a.test", 80, xff("1.1.1.1")) is first
    assert conn.client("b.test", 80, []).host == "b.test"
    assert conn.client("b.test", 8080, []).port == 8080


def test_a_block_is_remembered_for_one_version() -> None:
    conn = hop(CLIENT)
    assert block(conn.client("a.test", 80, [], "1.0"))["Via"] == "1.0 headgate"
    assert block(conn.client("a.test", 80, []))["Via"] == "1.1 headgate"
    assert block(conn.client("a.test", 80, [], "1.0"))["Via"] == "1.0 headgate"
    assert block(conn.client("a.test", 80, [], "2"))["Via"] == "2.0 headgate"
    assert conn.client("a.test", 80, [], "2") is conn.client("a.test", 80, [], "2")


def test_via_is_appended_for_anybody() -> None:
    came = [(b"via", b"1.0 fred"), (b"Via", b"1.1 bob")]
    assert block(hop(CLIENT).client("a.test", 80, came))["Via"] == "1.0 fred, 1.1 bob, 1.1 headgate"


def test_via_can_be_switched_off() -> None:
    conn = Hop(ForwardedRules(TrustPolicy(), via=""), CLIENT, "http")
    assert "Via" not in block(conn.client("a.test", 80, [(b"via", b"1.0 fred")]))


def test_via_goes_on_responses_too() -> None:
    rules = ForwardedRules(TrustPolicy(), via="edge-1")
    assert rules.via_pair([b"1.1 origin"]) == (b"Via", b"1.1 origin, 1.1 edge-1")
    assert rules.via_pairs() == {
        "1.0": (b"Via", b"1.0 edge-1"),
        "1.1": (b"Via", b"1.1 edge-1"),
        "2": (b"Via", b"2.0 edge-1"),
    }
    assert ForwardedRules(TrustPolicy(), via="").via_pairs() == {}
    with pytest.raises(ValueError, match="'a b' cannot stand in Via"):
        ForwardedRules(TrustPolicy(), via="a b")


WALKS = [
    (["203.0.113.9"], 0, "203.0.113.9"),
    (["6.6.6.6, 203.0.113.9"], 0, "203.0.113.9"),
    (["6.6.6.6", "203.0.113.9"], 0, "203.0.113.9"),
    (["203.0.113.9, 10.0.0.7"], 0, "203.0.113.9"),
    (["203.0.113.9, fd00::7"], 0, "203.0.113.9"),
    (["203.0.113.9,10.0.0.7 ,\t10.0.0.8"], 0, "203.0.113.9"),
    (["10.0.0.5, 10.0.0.7"], 0, "10.0.0.5"),
    (["203.0.113.9:4711"], 0, "203.0.113.9"),
    (["[2001:DB8::1]:4711"], 0, "2001:db8::1"),
    (["[2001:db8::1]"], 0, "2001:db8::1"),
    (["2001:db8:0::1"], 0, "2001:db8::1"),
    (["::ffff:203.0.113.9"], 0, "203.0.113.9"),
    (["203.0.113.9, ::ffff:10.0.0.7"], 0, "203.0.113.9"),
    (["garbage"], 0, PROXY),
    (["203.0.113.9, unknown"], 0, PROXY),
    (["203.0.113.9, garbage, 10.0.0.7"], 0, "10.0.0.7"),
    ([""], 0, PROXY),
    ([" , ,"], 0, PROXY),
    (["203.0.113.9, ,10.0.0.7,"], 0, "203.0.113.9"),
    (["fe80::1%eth0"], 0, PROXY),
    (["127.1"], 0, PROXY),
    (["0177.0.0.1"], 0, PROXY),
    (["9" * 5000], 0, PROXY),
    (["\u00e9"], 0, PROXY),
    (["203.0.113.9, 10.0.0.7"], 1, "10.0.0.7"),
    (["203.0.113.9, 10.0.0.7"], 2, "203.0.113.9"),
    (["1.1.1.1, 10.0.0.6, 10.0.0.7"], 2, "10.0.0.6"),
]


@pytest.mark.parametrize(("values", "hops", "address"), WALKS)
def test_chain_is_read_from_the_right(values: list[str], hops: int, address: str) -> None:
    client = hop(PROXY, "10.0.0.0/8", "fd00::/8", hops=hops).client("a.test", 80, xff(*values))
    assert client.address == address
    assert block(client)["X-Real-IP"] == address
    assert block(client)["X-Forwarded-For"].endswith(PROXY)


def test_trusted_chain_is_appended_to() -> None:
    client = hop(PROXY, "10.0.0.0/8").client("a.test", 80, xff("6.6.6.6", "203.0.113.9"))
    assert block(client)["X-Forwarded-For"] == "6.6.6.6, 203.0.113.9, 10.0.0.1"


def test_forged_items_move_no_trusted_one() -> None:
    """Whatever a client puts on the left, the address its proxy saw is found."""
    conn = hop(PROXY, "10.0.0.0/8")
    for forged in ("10.0.0.9", "garbage", "10.0.0.9, 10.0.0.9", "127.0.0.1:1, x"):
        assert conn.client("a.test", 80, xff(f"{forged}, {CLIENT}")).address == CLIENT


def test_trusted_proxy_tells_scheme_host_port_and_prefix() -> None:
    came = [
        (b"X-Forwarded-For", CLIENT.encode()),
        (b"x-forwarded-proto", b"HTTPS"),
        (b"x-forwarded-host", b"Shop.Test"),
        (b"x-forwarded-prefix", b"/shop/%7Ea"),
        (b"x-forwarded-server", b"inner"),
        (b"x-real-ip", b"127.0.0.1"),
        (b"forwarded", b"for=127.0.0.1"),
    ]
    client = hop(PROXY, PROXY).client("inner.test", 80, came)
    assert client[:4] == (CLIENT, "https", "shop.test", 443)
    assert block(client) == {
        "X-Forwarded-For": f"{CLIENT}, {PROXY}",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.test",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Prefix": "/shop/~a",
        "X-Real-IP": CLIENT,
        "Via": "1.1 headgate",
    }


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("x-forwarded-proto", "javascript", ("http", "a.test", 80)),
        ("x-forwarded-proto", "https", ("https", "a.test", 443)),
        ("x-forwarded-proto", "https, http", ("http", "a.test", 80)),
        ("x-forwarded-host", "evil.test, b.test", ("http", "b.test", 80)),
        ("x-forwarded-host", "b.test:8080", ("http", "b.test", 8080)),
        ("x-forwarded-host", "user@b.test", ("http", "a.test", 80)),
        ("x-forwarded-host", "", ("http", "a.test", 80)),
        ("x-forwarded-host", "b\u00fccher", ("http", "a.test", 80)),
        ("x-forwarded-port", "8443", ("http", "a.test", 8443)),
        ("x-forwarded-port", "0", ("http", "a.test", 80)),
        ("x-forwarded-port", "99999", ("http", "a.test", 80)),
        ("x-forwarded-port", "\u00b2", ("http", "a.test", 80)),
        ("x-forwarded-prefix", "/../x", ("http", "a.test", 80)),
    ],
)
def test_only_what_can_be_true_is_taken(field: str, value: str, expected: tuple[str, str, int]) -> None:
    came = [(b"x-forwarded-for", CLIENT.encode()), (field.encode(), value.encode("latin-1"))]
    client = hop(PROXY, "10.0.0.0/8").client("a.test", 80, came)
    assert client[1:4] == expected
    assert "X-Forwarded-Prefix" not in block(client)


def test_lists_are_read_as_deep_as_proxies_are_believed() -> None:
    came = [
        (b"x-forwarded-for", f"{CLIENT}, 10.0.0.7".encode()),
        (b"x-forwarded-host", b"evil.test, outer.test, middle.test"),
    ]
    assert hop(PROXY, "10.0.0.0/8").client("inner.test", 80, came).host == "outer.test"


def test_other_ports_show_in_the_host() -> None:
    named = block(hop(CLIENT, scheme="https").client("[2001:db8::1]", 8443, []))
    assert named["X-Forwarded-Host"] == "[2001:db8::1]:8443"
    assert named["X-Forwarded-Port"] == "8443"


@pytest.mark.parametrize(
    ("peer", "host", "port", "value"),
    [
        ("192.0.2.1", "a.test", 80, "for=192.0.2.1;host=a.test;proto=http"),
        ("192.0.2.1", "a.test", 81, 'for=192.0.2.1;host="a.test:81";proto=http'),
        ("2001:db8::1", "[::1]", 80, 'for="[2001:db8::1]";host="[::1]";proto=http'),
        ("", "a.test", 80, "for=unknown;host=a.test;proto=http"),
    ],
)
def test_forwarded_is_quoted(peer: str, host: str, port: int, value: str) -> None:
    assert block(hop(peer, forwarded=True).client(host, port, []))["Forwarded"] == value


def test_forwarded_names_the_proxy_behind_the_client() -> None:
    client = hop(PROXY, "10.0.0.0/8", forwarded=True).client("a.test", 80, xff(CLIENT))
    assert block(client)["Forwarded"] == f"for={CLIENT};host=a.test;proto=http, for={PROXY}"


def test_unix_socket_peers() -> None:
    assert block(hop("").client("a.test", 80, xff(CLIENT)))["X-Forwarded-For"] == "unknown"
    assert hop("", "unix").client("a.test", 80, xff(CLIENT)).address == CLIENT


def test_own_interface_is_not_part_of_an_address() -> None:
    assert hop("fe80::1%eth0").address == "fe80::1"


def test_bad_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"'10\.0\.0\.0/33' is not a network"):
        TrustPolicy(["10.0.0.0/33"])


def test_whole_internet_can_be_trusted_by_family() -> None:
    policy = TrustPolicy(["0.0.0.0/0"])
    assert policy.trusts("8.8.8.8")
    assert not policy.trusts("2001:db8::1")


@given(address=st.ip_addresses(), port=st.integers(0, 65535) | st.none())
def test_addresses_come_back_from_every_spelling(address: object, port: int | None) -> None:
    parsed = ip_address(str(address))
    text = f"[{parsed}]" if parsed.version == 6 else str(parsed)
    normal = str(getattr(parsed, "ipv4_mapped", None) or parsed)
    assert parse_address(text if port is None else f"{text}:{port}") == normal


@given(text=st.text(alphabet="0123456789abf:.[]%/ x", max_size=30))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = parse_address(text)
    assert found is None or str(ip_address(found)) == found


@given(forged=st.lists(st.tuples(st.sampled_from(FORWARDING_NAMES), st.binary(max_size=20)), max_size=5))
def test_a_stranger_changes_nothing(forged: list[Pair]) -> None:
    conn = hop(CLIENT, "10.0.0.0/8")
    assert conn.client("a.test", 80, forged) == hop(CLIENT).client("a.test", 80, [])


@given(value=st.binary(max_size=40))
def test_any_bytes_of_a_trusted_proxy_make_a_clean_block(value: bytes) -> None:
    """The head's reader let no control character through; what it may let through must not break the block."""
    value = bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F)
    came = [(name, value) for name in (*FORWARDING_NAMES, b"via")]
    client = hop(PROXY, "10.0.0.0/8", forwarded=True).client("a.test", 80, came)
    assert ip_address(client.address)
    assert not any(b"\r" in line or b"\n" in line for _, line in client.pairs)

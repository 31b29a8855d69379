"""Sets of addresses: what is in them is what the standard library says is in their networks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.networks import Networks, parse_network, unmapped

ADDRESSES = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
    st.ip_addresses(v=4).map(lambda each: IPv6Address(f"::ffff:{each}")),
)


def holds(text: str, address: IPv4Address | IPv6Address) -> bool:
    """Tell by the standard library alone whether a network has an address, by either of its names."""
    found = ip_network(text, strict=False)
    plain = unmapped(address)
    if plain in found or plain.version == 6:
        return plain in found
    # Nothing shorter than all mapped addresses speaks of IPv4: ::/0 is everywhere in IPv6 only.
    return found.version == 6 and found.prefixlen >= 96 and IPv6Address(f"::ffff:{plain}") in found


def network(address: IPv4Address | IPv6Address, bits: int) -> str:
    return f"{address}/{min(bits, address.max_prefixlen)}"


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=4), ADDRESSES)
def test_holds_what_some_network_of_it_holds(written: list[tuple[IPv4Address, int]], address: IPv4Address) -> None:
    texts = [network(each, bits) for each, bits in written]
    assert (str(address) in Networks(texts)) is any(holds(text, address) for text in texts)


@given(ADDRESSES, st.integers(0, 32))
def test_a_network_holds_every_address_that_it_was_written_by(address: IPv4Address, bits: int) -> None:
    plain = unmapped(address)
    mapped = f"::ffff:{plain}/{96 + bits}" if plain.version == 4 else network(plain, bits * 4)
    assert str(address) in Networks([network(plain, bits)])
    assert str(address) in Networks([mapped])


@pytest.mark.parametrize(
    ("text", "address", "inside"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("::ffff:10.0.0.0/104", "10.9.9.9", True),
        ("::ffff:0:0/96", "203.0.113.9", True),
        ("::/0", "203.0.113.9", False),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("fd00::/8", "fd12::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "10.0.0.1:80", False),
        ("0.0.0.0/0", "0177.0.0.1", False),
    ],
)
def test_single_addresses(text: str, address: str, inside: bool) -> None:
    assert (address in Networks([text])) is inside


def test_an_empty_set_is_false() -> None:
    assert not Networks([])
    assert Networks(["::1"])


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "localhost", "10.0.0.0/255.0.0.1", "1.2.3", "unix"])
def test_what_is_no_network_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network: write an address or a CIDR"):
        parse_network(text)

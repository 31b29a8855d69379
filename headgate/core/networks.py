"""Sets of addresses as operators write them: single ones, and networks by CIDR.

Law: an IPv4 address mapped into IPv6 (RFC 4291 section 2.5.5.2) is that IPv4 address, in a set as in a question: a
listener on both families sees one client as either.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Read an address or a CIDR; bits behind the prefix are ignored.

    Raises:
        ValueError: with a sentence that names the text.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network: write an address or a CIDR such as 10.0.0.0/8 or fd00::/8"
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        bits = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((bits, network.prefixlen - _MAPPED.prefixlen))
    return network


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one holds, any other as it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class Networks:
    """A set of addresses; false when nothing is in it. One look-up for each length of prefix, however many networks."""

    __slots__ = ("_by_version",)

    def __init__(self, texts: Iterable[str]) -> None:
        """Take addresses and CIDRs.

        Raises:
            ValueError: for one that is none; the message names it.
        """
        masks: dict[int, dict[int, set[int]]] = {}
        for text in texts:
            network = parse_network(text)
            of_version = masks.setdefault(network.version, {})
            of_version.setdefault(int(network.netmask), set()).add(int(network.network_address))
        self._by_version = {
            version: tuple((mask, frozenset(found)) for mask, found in of_version.items())
            for version, of_version in masks.items()
        }

    def __bool__(self) -> bool:
        return bool(self._by_version)

    def __contains__(self, address: str) -> bool:
        """Tell whether an address is in the set; a text that is no address never is."""
        try:
            parsed = unmapped(ip_address(address))
        except ValueError:
            return False
        number = int(parsed)
        return any(number & mask in found for mask, found in self._by_version.get(parsed.version, ()))

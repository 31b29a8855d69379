"""Endpoints as sources make them of what they are told, and whole sets of them.

Laws: what a registry says is judged like what an operator writes, so a host can bring no path, user or scheme with
it; an endpoint stands once in a set; the order of a set depends on what is in it and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address
from typing import Any, TypeVar

from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.core.uri import normalize_host
from headgate.discovery.source import MOST_ENDPOINTS, NotFound

T = TypeVar("T")

MOST_WEIGHT = 1_000_000
LONGEST_ZONE = 100


def endpoint_at(host: object, port: object, scheme: str, weight: int = 1, zone: str = "") -> Endpoint:
    """Return the endpoint at a host (a name, or an address with or without brackets) and port.

    Raises:
        ValueError: with a sentence that holds nothing of what was said.
    """
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        raise ValueError("the host must be text and the port a number")
    if not 1 <= port <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    if ":" in host and not host.startswith("["):
        host = f"[{_address(host)}]"
    return _weighed(parse_endpoint(f"{scheme}://{normalize_host(host)}:{port}"), weight, zone)


def endpoint_of(url: object, weight: int = 1, zone: str = "") -> Endpoint:
    """Return the endpoint of a URL.

    Raises:
        ValueError: with a sentence that holds nothing of what was said.
    """
    if not isinstance(url, str):
        raise ValueError("the URL must be text")
    if url.startswith("unix:"):
        # Whoever may register must not reach the sockets of this machine.
        raise ValueError("a Unix socket is no endpoint that a registry may name")
    return _weighed(parse_endpoint(url), weight, zone)


def whole_set(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Return a set in its one order; of those that share a name one is kept.

    Raises:
        NotFound: with a sentence, when there are more than a service can have.
    """
    found: dict[str, Endpoint] = {}
    for endpoint in sorted(endpoints):
        found.setdefault(endpoint.name, endpoint)
    if len(found) > MOST_ENDPOINTS:
        raise NotFound(f"the set has {len(found)} endpoints, and {MOST_ENDPOINTS} is the most that a service can have")
    return tuple(found.values())


def usable(entries: Iterable[T], made: Callable[[T], Endpoint]) -> tuple[Endpoint, ...]:
    """Return the set of those entries that `made` can make endpoints of, leaving out for which it raises ValueError.

    Raises:
        NotFound: there are entries, but none is usable: that is no empty set.
    """
    found: list[Endpoint] = []
    objection = ""
    for entry in entries:
        try:
            found.append(made(entry))
        except ValueError as error:
            objection = objection or str(error)
    if objection and not found:
        raise NotFound(f"no entry can be used: {objection}")
    return whole_set(found)


def weight_in(value: Any, default: int = 1) -> int:
    """Return a weight as a registry says it: whole and within bounds, the default where it says none that is one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_WEIGHT:
        return default
    return value


def _weighed(endpoint: Endpoint, weight: int, zone: str) -> Endpoint:
    # It is shown on terminals, which obey some characters.
    return endpoint._replace(weight=weight, zone=zone[:LONGEST_ZONE] if zone.isprintable() else "")


def _address(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise ValueError("the host is no IPv6 address") from None

"""One instance of a service as it registered, and what is asked of it before it may.

Laws: a host is a name or an address and nothing else; it never leads to where only this machine or its cloud answers
(link-local addresses, among them those that hand out credentials), nor to many machines at once; whatever stands in a
registration can be written down and handed on as JSON and UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Literal, NamedTuple

from headgate.core.address import ListenAddress, is_loopback, parse_resource
from headgate.core.endpoint import Endpoint
from headgate.core.networks import Networks, unmapped
from headgate.discovery.endpoint_set import LONGEST_ZONE, MOST_WEIGHT, endpoint_at

Status = Literal["healthy", "unhealthy", "unknown"]

ID: Final = r"[A-Za-z0-9][A-Za-z0-9._~:-]{0,127}"
LONGEST_NAME: Final = 200
LONGEST_HOST: Final = 255
LONGEST_PATH: Final = 1000
MOST_METADATA: Final = 16 * 1024
SHORTEST_TTL: Final = 1.0
LONGEST_TTL: Final = 86_400.0

_ID: Final = re.compile(ID)
_BROADCAST: Final = IPv4Address("255.255.255.255")
# Where clouds hand out credentials and settings besides 169.254.0.0/16: AWS (IPv6), Alibaba, Azure, Google (IPv6).
_OF_CLOUDS: Final = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "fd20:ce::254")))
_NAMES_OF_CLOUDS: Final = ("metadata.google.internal", "instance-data.ec2.internal", "metadata.tencentyun.com")
_NO_INSTANCE: Final = "host: this is no address of one machine that all can reach"


class TooMany(ValueError):
    """There is no room for one more instance."""


class Instance(NamedTuple):
    """What an instance says of itself.

    `id` is empty where one is to be made; `health_check` the path it is asked at, empty for none; `said` what it says
    of its health ("unknown": nothing); `ttl` seconds until it is dropped when nothing is heard of it.
    """

    id: str
    name: str
    host: str
    port: int
    scheme: Literal["http", "https"] = "http"
    weight: int = 1
    zone: str = ""
    health_check: str = ""
    metadata: Mapping[str, Any] = {}
    ttl: float = 60.0
    said: Status = "unknown"

    @property
    def endpoint(self) -> Endpoint:
        """Return where it is.

        Raises:
            ValueError: with a sentence, when that is nowhere.
        """
        return endpoint_at(self.host, self.port, self.scheme, self.weight, self.zone)


class Row(NamedTuple):
    """An instance as the database has it; `registered_at` is wall-clock seconds."""

    instance: Instance
    registered_at: float
    renewals: int
    revision: int


class News(NamedTuple):
    """What a turn found: the `rows` that have changed, the `ids` of all instances, None when neither has changed.

    `heard` are the lapsed that others have heard of.
    """

    revision: int
    rows: list[Row]
    ids: frozenset[str] | None
    heard: list[Row]


def checked(instance: Instance, networks: Networks) -> Instance:
    """Return an instance as it is kept, its host in normal form; with `networks`, hosts are addresses in one of them.

    Raises:
        ValueError: with a sentence that holds nothing of what was said.
    """
    if instance.id and not _ID.fullmatch(instance.id):
        raise ValueError("id: expected at most 128 letters, digits and ._~:-, the first a letter or digit")
    for what, text, longest in (("name", instance.name, LONGEST_NAME), ("zone", instance.zone, LONGEST_ZONE)):
        if len(text) > longest or not text.isprintable():
            raise ValueError(f"{what}: expected at most {longest} characters that can be printed")
    if not instance.name.strip():
        raise ValueError("name: expected the name of a service")
    if len(instance.host) > LONGEST_HOST:
        raise ValueError("host: it is too long")
    if not 0 <= instance.weight <= MOST_WEIGHT:
        raise ValueError(f"weight: expected a number from 0 to {MOST_WEIGHT}")
    if not SHORTEST_TTL <= instance.ttl <= LONGEST_TTL:
        raise ValueError(f"ttl: expected seconds from {SHORTEST_TTL:g} to {LONGEST_TTL:g}")
    try:
        host = instance.endpoint.host
    except ValueError as error:
        raise ValueError(f"host: {error}") from None
    host = _checked_host(host, networks)
    _check_path(instance.health_check)
    _check_metadata(instance.metadata)
    return instance._replace(host=host)


def refuse_own(instance: Instance, admin: ListenAddress) -> None:
    """Keep the admin listener from being a service that anybody reaches.

    Raises:
        ValueError: with a sentence.
    """
    own = is_loopback(instance.host) or instance.host.strip("[]") == admin.host
    if own and instance.port == admin.port:
        raise ValueError("host: this is the admin listener, which is no service")


def _checked_host(host: str, networks: Networks) -> str:
    address = _address(host)
    if address is None:
        if networks:
            raise ValueError("host: expected an address, for only those in registrations.networks are taken")
        if host in _NAMES_OF_CLOUDS:
            raise ValueError(_NO_INSTANCE)
        return host
    several = address.is_multicast or address.is_unspecified or address == _BROADCAST
    if several or address.is_link_local or address in _OF_CLOUDS:
        raise ValueError(_NO_INSTANCE)
    if networks and str(address) not in networks:
        raise ValueError("host: this address is in none of registrations.networks")
    return str(address) if isinstance(address, IPv4Address) else host


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return unmapped(ip_address(host.strip("[]")))
    except ValueError:
        return None


def _check_path(path: str) -> None:
    if not path:
        return
    if not path.startswith("/") or len(path) > LONGEST_PATH:
        raise ValueError(f"health_check: expected a path that begins with /, of at most {LONGEST_PATH} characters")
    try:
        parse_resource(f"http://localhost{path}")
    except ValueError as error:
        raise ValueError(f"health_check: {error}") from None


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        # NaN, infinity, half of a surrogate pair.
        raise ValueError("metadata: it has something that JSON cannot hold") from None
    if size > MOST_METADATA:
        raise ValueError(f"metadata: expected at most {MOST_METADATA} bytes of JSON")

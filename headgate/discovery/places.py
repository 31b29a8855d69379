"""Where sources ask, read from their settings: names of variables, addresses, URLs; and the words for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from headgate.core.address import parse_endpoint, parse_listen
from headgate.discovery.settings import (
    ConsulDiscovery,
    DnsDiscovery,
    EnvironmentDiscovery,
    EtcdDiscovery,
    HttpDiscovery,
    KubernetesDiscovery,
    RegistryDiscovery,
)

# Stands in a domain name for that of the service.
SERVICE: Final = "{service}"
_DNS_PORT: Final = 53


def urls_names(settings: EnvironmentDiscovery, service: str) -> Sequence[str]:
    """Return the variables that may hold the URLs of a service, the first that is set counts."""
    return settings.urls or [f"{_variable(service)}_SERVICE_URL", f"UPSTREAM_{_variable(service)}_URLS"]


def weights_name(settings: EnvironmentDiscovery, service: str) -> str:
    """Return the variable that may hold their weights."""
    return settings.weights or f"UPSTREAM_{_variable(service)}_WEIGHTS"


def server_address(text: str) -> tuple[str, int]:
    """Return the address and the port of a name server.

    Raises:
        ValueError: with a sentence.
    """
    try:
        return str(ip_address(text.strip("[]"))), _DNS_PORT
    except ValueError:
        pass
    try:
        found = parse_listen(text)
        return str(ip_address(found.host)), found.port
    except ValueError:
        raise ValueError("expected the address of a name server, such as 10.0.0.2 or 10.0.0.2:5353") from None


def domain_name(settings: DnsDiscovery, service: str) -> str:
    """Return the name that is asked for."""
    return settings.name.replace(SERVICE, service)


def list_urls(settings: HttpDiscovery) -> list[str]:
    """Return the URLs where the list of a registry may be.

    Raises:
        ValueError: with a sentence, for what is none.
    """
    host = settings.host
    base = settings.url or f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{settings.port}"
    plain, question, query = base.partition("?")
    if plain.startswith("unix:") or (settings.url is None and "/" in host):
        raise ValueError("expected http://HOST:PORT or https://HOST:PORT")
    parse_endpoint(plain)
    plain = plain.rstrip("/")
    if question or "/" in plain.partition("//")[2]:
        return [f"{plain}{question}{query}"]
    for path in settings.paths:
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
            raise ValueError("a path begins with / and has visible ASCII characters without #")
    if not settings.paths:
        raise ValueError("without a path the list is nowhere")
    return [f"{plain}{path}" for path in settings.paths]


def where(settings: Any, service: str) -> str:
    """Say for people where the endpoints of a service come from; settings of catalog.DISCOVERY, and no secret."""
    return f"{settings.type} {_WORDS[type(settings)](settings, service)}"


def _dns(settings: DnsDiscovery, service: str) -> str:
    records = "A and AAAA" if settings.record == "both" else settings.record.upper()
    return f"{domain_name(settings, service)} ({records})"


def _http(settings: HttpDiscovery, service: str) -> str:
    at = (settings.url or f"{settings.host}:{settings.port}").partition("?")[0]
    return f"{settings.service or service} at {at}"


def _kubernetes(settings: KubernetesDiscovery, service: str) -> str:
    namespace = f"{settings.namespace}/" if settings.namespace is not None else ""
    return f"{namespace}{settings.service or service}"


_WORDS: Mapping[type, Callable[[Any, str], str]] = {
    EnvironmentDiscovery: lambda settings, service: ", ".join(urls_names(settings, service)),
    DnsDiscovery: _dns,
    HttpDiscovery: _http,
    RegistryDiscovery: lambda settings, service: settings.service or service,
    ConsulDiscovery: lambda settings, service: f"{settings.service or service} at {settings.url}",
    EtcdDiscovery: lambda settings, service: f"{settings.prefix or f'/services/{service}/'} at {settings.url[0]}",
    KubernetesDiscovery: _kubernetes,
}


def _variable(service: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", service.upper())

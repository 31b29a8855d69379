"""What cannot be right in who tells where services run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.config.check_values import Finding
from headgate.config.check_wire import check_authorities, check_pair
from headgate.config.problems import Path
from headgate.config.resolve import discovery_of, endpoints_of
from headgate.config.schema import Config, Service
from headgate.core.address import is_loopback, parse_endpoint
from headgate.discovery.environment import read_variables
from headgate.discovery.places import SERVICE, list_urls, server_address, urls_names, weights_name
from headgate.discovery.settings import (
    DnsDiscovery,
    EnvironmentDiscovery,
    EtcdDiscovery,
    HttpDiscovery,
    KubernetesDiscovery,
)
from headgate.discovery.source import NotFound

# RFC 1035 section 2.3.4: 255 octets, a label of at most 63; underscores stand in names of services.
_LABEL = re.compile(r"[\w-]{1,63}")
_LONGEST_NAME = 253
# Kubernetes, "Object Names and IDs": labels of RFC 1123. That a service's begins with a letter is no more so in all.
_IN_KUBERNETES = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def check_discovery(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check it; `environ` is the environment that the gateway will have."""
    if config.discovery is not None:
        yield from _settings(config.discovery, ("discovery",))
        if isinstance(config.discovery, DnsDiscovery) and SERVICE not in config.discovery.name:
            message = "all services that have neither endpoints nor discovery run where this one name says"
            yield Finding(("discovery", "name"), message, f"write {SERVICE} where the service's name stands", "warning")
    for place, service in enumerate(config.services):
        path: Path = ("services", place)
        if service.discovery is not None:
            yield from _settings(service.discovery, (*path, "discovery"))
            if endpoints_of(service):
                message = "endpoints are found out and stand here, too"
                yield Finding((*path, "discovery"), message, "write one of them")
                continue
        yield from _of_service(service, discovery_of(service, config), path, environ)


def variables_read(config: Config) -> frozenset[str]:
    """Return the variables that discovery reads, set or not."""
    found: set[str] = set()
    for service in config.services:
        discovery = discovery_of(service, config)
        if isinstance(discovery, EnvironmentDiscovery):
            found.update((*urls_names(discovery, service.name), weights_name(discovery, service.name)))
    return frozenset(found)


def _of_service(service: Service, discovery: Any, path: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    at = (*path, "discovery") if service.discovery is not None else (*path, "name")
    if isinstance(discovery, EnvironmentDiscovery):
        try:
            read_variables(discovery, service.name, environ)
        except NotFound as error:
            names = urls_names(discovery, service.name)
            if discovery.default or any(environ.get(name, "").strip() for name in names):
                yield Finding(at, str(error))
            else:
                message = f"{error}; the service answers 503"
                yield Finding(at, message, "set one before the gateway starts", "warning")
    by_name = isinstance(discovery, KubernetesDiscovery) and discovery.service is None
    if by_name and not _IN_KUBERNETES.fullmatch(service.name):
        yield Finding(at, "Kubernetes can have no service of this name", "write discovery: {service: ...} for it")
    verified = service.tls.verify and service.tls.server_name is None
    if isinstance(discovery, DnsDiscovery) and discovery.record != "srv" and discovery.scheme == "https" and verified:
        message = "certificates are checked against the addresses that are found, and hardly any has them"
        yield Finding(at, message, "write tls: {server_name: ...} for the service", "warning")


def _settings(settings: Any, path: Path) -> Iterator[Finding]:
    """Check the settings of one source alone."""
    if isinstance(settings, DnsDiscovery):
        yield from _dns(settings, path)
    if isinstance(settings, KubernetesDiscovery):
        for key in ("service", "namespace"):
            name = getattr(settings, key)
            if name is not None and not _IN_KUBERNETES.fullmatch(name):
                hint = "lower-case letters, digits and hyphens, at most 63"
                yield Finding((*path, key), f"Kubernetes can have no {key} of this name", hint)
    if isinstance(settings, EtcdDiscovery) and settings.prefix == "":
        message = "every key of etcd would be an endpoint"
        yield Finding((*path, "prefix"), message, "write what the keys begin with, such as /services/chat/")
    if isinstance(settings, HttpDiscovery):
        try:
            urls = list_urls(settings)
        except ValueError as error:
            yield Finding((*path, "url") if settings.url is not None else path, f"bad URL: {error}")
        else:
            yield from _in_the_clear(urls[0], settings.token, (*path, "token"))
    else:
        for at, url in _urls(settings, path):
            try:
                parse_endpoint(url)
            except ValueError as error:
                yield Finding(at, f"bad URL: {error}")
                continue
            if url.startswith("unix:"):
                yield Finding(at, "bad URL: expected http://HOST:PORT or https://HOST:PORT")
            else:
                yield from _in_the_clear(url, getattr(settings, "token", ""), (*path, "token"))
    yield from _files(settings, path)


def _dns(settings: DnsDiscovery, path: Path) -> Iterator[Finding]:
    # Whatever the services are called.
    name = settings.name.replace(SERVICE, "x").removesuffix(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        yield Finding((*path, "name"), "expected a domain name, such as chat.internal")
    for place, text in enumerate(settings.servers):
        try:
            server_address(text)
        except ValueError as error:
            yield Finding((*path, "servers", place), str(error))
    if settings.min_ttl > settings.max_ttl:
        message = f"the shortest time between two questions is longer than the longest, {settings.max_ttl:g} s"
        yield Finding((*path, "min_ttl"), message, "write less")


def _urls(settings: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the URLs of a registry, and where they stand."""
    if isinstance(settings, EtcdDiscovery):
        for place, url in enumerate(settings.url):
            yield (*path, "url", place), url
        if not settings.url:
            yield (*path, "url"), ""
        return
    for key in ("url", "server"):
        found: str | None = getattr(settings, key, None)
        if found is not None:
            yield (*path, key), found


def _in_the_clear(url: str, token: str, path: Path) -> Iterator[Finding]:
    endpoint = parse_endpoint(url.partition("?")[0])
    if token and endpoint.scheme == "http" and not is_loopback(endpoint.host):
        message = "the token goes there in the clear, for anybody on the way to read"
        yield Finding(path, message, "write the URL as https://", "warning")


def _files(settings: Any, path: Path) -> Iterator[Finding]:
    ca = getattr(settings, "ca", None)
    # What a pod has by default is there when it runs, not where its configuration is checked.
    if ca is not None and ca != _default_of(settings, "ca"):
        yield from check_authorities(ca, (*path, "ca"))
    if isinstance(settings, EtcdDiscovery):
        yield from check_pair(settings.cert, settings.key, path)
        if settings.password and not settings.username:
            yield Finding((*path, "password"), "etcd is not asked as any user", "write username, too")


def _default_of(settings: Any, name: str) -> Any:
    return type(settings).__dataclass_fields__[name].default

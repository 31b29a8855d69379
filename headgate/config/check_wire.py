"""Checks of addresses, networks, certificates, endpoints, and of what the gateway itself asks."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path as FilePath

from headgate.config.check_values import Finding
from headgate.config.problems import Path, printable
from headgate.config.resolve import endpoints_of
from headgate.config.schema import Config, ListenTls, Service
from headgate.core.address import ListenAddress, is_loopback, parse_endpoint, parse_listen, parse_resource

_EVERYWHERE = ("", "0.0.0.0", "::")
# What other programs call HTTP/2 in a URL.
_SCHEMES_OF_HTTP2 = ("h2:", "h2c:", "grpc:", "grpcs:")


def check_listeners(config: Config) -> Iterator[Finding]:
    """Check every address to listen on, the admin listener's too, and that no two take the same port."""
    if not config.listen:
        yield Finding(("listen",), "expected at least one address", "such as 0.0.0.0:8080")
    taken: list[tuple[ListenAddress, str]] = []
    addresses: list[tuple[Path, str, str]] = [
        (("listen", place, "address"), listen.address, f"listen[{place}]") for place, listen in enumerate(config.listen)
    ]
    for path, text, name in [*addresses, (("admin", "address"), config.admin.address, "admin")]:
        try:
            address = parse_listen(text)
        except ValueError as error:
            yield Finding(path, f"bad address: {error}")
            continue
        other = next((name for each, name in taken if _same_address(each, address)), None)
        if other is not None:
            yield Finding(path, f"{other} listens on the same address already", "give each its own port")
        taken.append((address, name))
    for place, listen in enumerate(config.listen):
        yield from check_trusted(listen.proxy_protocol, ("listen", place, "proxy_protocol"))
        if listen.tls is not None:
            yield from _check_listen_tls(listen.tls, ("listen", place, "tls"))


def _same_address(one: ListenAddress, other: ListenAddress) -> bool:
    if one.unix or other.unix:
        return one.unix == other.unix
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or one.host in _EVERYWHERE or other.host in _EVERYWHERE


def check_networks(networks: list[str], path: Path) -> Iterator[Finding]:
    """Check a list of CIDRs."""
    for place, text in enumerate(networks):
        try:
            ip_network(text.strip(), strict=False)
        except ValueError:
            message = f'"{printable(text)}" is neither an address nor a network'
            yield Finding((*path, place), message, "write it as 10.0.0.0/8, 192.0.2.7 or fd00::/8")


def check_trusted(networks: list[str], path: Path) -> Iterator[Finding]:
    """Check the networks of those who are believed to say where a client comes from."""
    yield from check_networks(networks, path)
    for place, text in enumerate(networks):
        if text.strip().endswith("/0"):
            message = "everybody is believed here, so a client comes from wherever it says"
            yield Finding((*path, place), message, "name the proxies in front, as narrow as they are", "warning")


# -- certificates -------------------------------------------------------------------------------------------------


def _check_listen_tls(tls: ListenTls, path: Path) -> Iterator[Finding]:
    if tls.cert is None and tls.key is None and not tls.certificates:
        yield Finding(path, "TLS needs a certificate", "write cert and key, or certificates")
    yield from check_pair(tls.cert, tls.key, path)
    for place, each in enumerate(tls.certificates):
        at = (*path, "certificates", place)
        yield from check_pair(each.cert, each.key, at)
    if tls.client_ca is not None:
        yield from check_authorities(tls.client_ca, (*path, "client_ca"))


def check_pair(cert: str | None, key: str | None, path: Path) -> Iterator[Finding]:
    if cert is None and key is None:
        return
    if cert is None or key is None:
        here, missing = ("key", "cert") if cert is None else ("cert", "key")
        yield Finding(
            (*path, here), f"{here} without {missing}", f"write {missing} too: the PEM file that belongs to it"
        )
        return
    unreadable = [(part, name) for part, name in (("cert", cert), ("key", key)) if (_why_unreadable(name))]
    for part, name in unreadable:
        yield Finding((*path, part), f"the file {printable(name)} {_why_unreadable(name)}")
    if unreadable:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    encrypted: list[bool] = []
    try:
        # Without a callback an encrypted key would ask its pass phrase on the terminal.
        context.load_cert_chain(cert, key, password=partial(_no_pass_phrase, encrypted))
    except (ssl.SSLError, OSError, ValueError) as error:
        part, message = _why_no_pair(error, encrypted, cert, key)
        yield Finding((*path, part), message)


def _no_pass_phrase(asked: list[bool]) -> str:
    asked.append(True)
    return ""


def _why_no_pair(error: Exception, encrypted: list[bool], cert: str, key: str) -> tuple[str, str]:
    if encrypted:
        return (
            "key",
            f"the key in {printable(key)} is encrypted: store it without pass phrase, readable by the gateway only",
        )
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "key", f"the key in {printable(key)} does not belong to the certificate in {printable(cert)}"
    if not _holds_certificate(cert):
        return "cert", f"the file {printable(cert)} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
    return "key", f"the file {printable(key)} holds no usable private key in PEM form (-----BEGIN PRIVATE KEY-----)"


def _holds_certificate(name: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(name)
    except (ssl.SSLError, OSError):
        return False
    return True


def check_authorities(name: str, path: Path) -> Iterator[Finding]:
    why = _why_unreadable(name)
    if why:
        yield Finding(path, f"the file {printable(name)} {why}")
    elif not _holds_certificate(name):
        message = f"the file {printable(name)} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"
        yield Finding(path, message)


def _why_unreadable(name: str) -> str:
    try:
        with FilePath(name).open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return "does not exist"
    except IsADirectoryError:
        return "is a folder"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or 'not a file name'}"
    return ""


# -- what the gateway itself asks ---------------------------------------------------------------------------------


def check_resource(url: str, ca: str | None, path: Path) -> Iterator[Finding]:
    """Check `url` and `ca`, which stand at `path`, of something that the gateway itself asks with credentials in it."""
    if ca is not None:
        yield from check_authorities(ca, (*path, "ca"))
    try:
        endpoint = parse_resource(url).endpoint
    except ValueError as error:
        # The URL itself may hold a secret, so it is not shown.
        yield Finding((*path, "url"), f"bad URL: {error}")
        return
    if endpoint.scheme == "https":
        return
    if ca is not None:
        message = "authorities are set, but the URL is not https, so they never count"
        yield Finding((*path, "ca"), message, "write the URL as https://", "warning")
    if not endpoint.unix and not is_loopback(endpoint.host):
        message = "credentials go there in the clear, for anybody on the way to read"
        yield Finding((*path, "url"), message, "write https://", "warning")


# -- endpoints ----------------------------------------------------------------------------------------------------


def check_endpoints(service: Service, path: Path) -> Iterator[Finding]:
    """Check the URLs and weights of a service's endpoints."""
    endpoints = endpoints_of(service)
    names: dict[str, int] = {}
    for place, each in enumerate(endpoints):
        at = (*path, "url") if service.url is not None else (*path, "endpoints", place, "url")
        try:
            name = parse_endpoint(each.url).name
        except ValueError as error:
            hint = "write http:// or https://, and protocol: http2 at the service"
            yield Finding(at, f"bad endpoint: {error}", hint if each.url.startswith(_SCHEMES_OF_HTTP2) else "")
            continue
        if names.setdefault(name, place) != place:
            yield Finding(at, f"the endpoint {name} stands here twice", "give one of them more weight instead")
    if endpoints and all(each.weight == 0 for each in endpoints):
        message = "all endpoints have weight 0, so none would ever be chosen"
        yield Finding((*path, "endpoints"), message, "give at least one a weight of 1 or more")


def check_upstream_tls(service: Service, path: Path) -> Iterator[Finding]:
    """Check the files of the client side of TLS, and that there is TLS at all where a client certificate is set."""
    tls = service.tls
    yield from check_pair(tls.cert, tls.key, (*path, "tls"))
    if tls.ca is not None:
        yield from check_authorities(tls.ca, (*path, "tls", "ca"))
    schemes = [each.url.partition(":")[0] for each in endpoints_of(service)]
    if tls.cert is not None and schemes and "https" not in schemes:
        message = "a client certificate is set, but no endpoint is https, so it is never shown"
        yield Finding((*path, "tls", "cert"), message, "write the endpoints as https://", "warning")
    if service.protocol == "auto" and schemes and "https" not in schemes:
        message = "without TLS there is nothing by which to choose a version, so this is HTTP/1.1"
        yield Finding((*path, "protocol"), message, "write http2, or the endpoints as https://", "warning")

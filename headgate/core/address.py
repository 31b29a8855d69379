"""Addresses as operators write them: where to listen, where an endpoint is, and one thing on a server."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

from headgate.core.endpoint import DEFAULT_PORTS, Endpoint
from headgate.core.uri import BadTarget, normalize_host, normalize_path

_ENDPOINT_FORMS = "http://HOST:PORT, https://HOST:PORT or unix:/path"
_RESOURCE_FORMS = "https://HOST/path, http://HOST:PORT/path or unix:/path/of/socket:/path"
# RFC 3986 section 3.3 and 3.4: what a path and a query may hold, with nothing decoded and nothing made up.
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")


class ListenAddress(NamedTuple):
    """Where to listen: `host` ("" = everywhere; IPv6 without brackets) and `port` (0 = any free one), or `unix`."""

    host: str
    port: int
    unix: str = ""


class Resource(NamedTuple):
    """One thing on a server: where to connect, and the request target there (path and query, as written)."""

    endpoint: Endpoint
    target: bytes


def parse_listen(text: str) -> ListenAddress:
    """Read HOST:PORT, [IPv6]:PORT or unix:/path.

    Raises:
        ValueError: with a sentence that says what to write instead.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # sun_path of sockaddr_un has 108 bytes on Linux, the last one is zero.
        if not path.startswith("/") or "\0" in path or len(path.encode("utf-8", "replace")) > 107:
            raise ValueError("expected unix:/ and an absolute path of at most 107 bytes")
        return ListenAddress("", 0, path)
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError("expected HOST:PORT, [IPv6]:PORT or unix:/path, such as 0.0.0.0:8080")
    if int(port) > 65535:
        raise ValueError(f"the port {port} does not exist: ports go up to 65535")
    if ":" in host and not host.startswith("["):
        raise ValueError(f"write an IPv6 address in brackets: [{host}]:{port}")
    if not host:
        return ListenAddress("", int(port))
    return ListenAddress(normalize_host(host).strip("[]"), int(port))


def parse_endpoint(url: str, weight: int = 1) -> Endpoint:
    """Read the URL of an endpoint; its path becomes the prefix of every request's path.

    Raises:
        ValueError: with a sentence that says what to write instead.
    """
    if url.startswith("unix:"):
        path = parse_listen(url).unix
        return Endpoint(f"unix:{path}", "http", "localhost", 80, path, "", weight)
    if "//" not in url:
        raise ValueError(f"expected {_ENDPOINT_FORMS}; here is no http:// in front")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"not a URL: expected {_ENDPOINT_FORMS}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"expected {_ENDPOINT_FORMS}")
    if "{" in url:
        raise ValueError("there are no placeholders in the URL of an endpoint; rewrite.path makes paths of parts")
    if "@" in parts.netloc:
        raise ValueError("user name and password do not belong into the URL: set an Authorization header instead")
    if "?" in url or "#" in url:
        raise ValueError("a query or fragment does not belong into the URL of an endpoint")
    if port == 0:
        raise ValueError("the port must be a number from 1 to 65535")
    scheme = cast('Literal["http", "https"]', parts.scheme)
    host = _host(parts.netloc, port)
    prefix = ""
    if parts.path.strip("/"):
        try:
            prefix = normalize_path(parts.path.encode("utf-8")).rstrip("/")
        except BadTarget as error:
            raise ValueError(f"the path of the URL: {error}") from None
    port = port or DEFAULT_PORTS[scheme]
    return Endpoint(f"{host}:{port}", scheme, host, port, "", prefix, weight)


def parse_resource(url: str) -> Resource:
    """Read the URL of what the gateway itself asks for, path and query to the letter.

    Raises:
        ValueError: with a sentence that says what to write instead; without the URL, which may hold a secret.
    """
    if url.startswith("unix:"):
        socket, colon, target = url.removeprefix("unix:").partition(":")
        endpoint = parse_endpoint(f"unix:{socket}")
        target = target if colon else "/"
    else:
        if "#" in url:
            raise ValueError("a fragment (#) is never sent: leave it out")
        scheme, slashes, rest = url.partition("://")
        if not slashes or scheme.lower() not in DEFAULT_PORTS:
            raise ValueError(f"expected {_RESOURCE_FORMS}")
        found = re.search("[/?]", rest)
        at = found.start() if found is not None else len(rest)
        endpoint = parse_endpoint(f"{scheme}://{rest[:at]}")
        target = rest[at:]
        if not target.startswith("/"):
            target = f"/{target}"
    if not _TARGET.fullmatch(target):
        raise ValueError(
            "the path begins with / and has letters, digits and -._~!$&'()*+,;=:@/?% only: write %20 for a blank"
        )
    return Resource(endpoint, target.encode())


def is_loopback(host: str) -> bool:
    """Tell whether a host (a name, or an address with or without brackets) can only be this machine."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host(netloc: str, port: int | None) -> str:
    name = netloc.removesuffix(":") if port is None else netloc.rpartition(":")[0]
    if not name:
        raise ValueError(f"the host is missing: expected {_ENDPOINT_FORMS}")
    if name.startswith("[") != name.endswith("]") or (":" in name and not name.startswith("[")):
        raise ValueError("write an IPv6 address in brackets: http://[::1]:8001")
    return normalize_host(name)

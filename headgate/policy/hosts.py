"""Which hosts may be asked for.

Law: judged is the host in its one normal form (core.uri), the one that routes and upstreams see; ports do not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.core.uri import BadTarget, normalize_host

_ANY = "*"
_BELOW = "*."


class TrustedHosts:
    """Names, and *.example.com for all names below example.com, however deep, but not itself."""

    __slots__ = ("_any", "_below", "_names")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile.

        Raises:
            ValueError: for what is no host (`check_host`).
        """
        listed = tuple(patterns)
        self._any = _ANY in listed
        self._names = frozenset(normalize_host(text) for text in listed if not text.startswith(_ANY))
        self._below = frozenset(normalize_host(text[2:]) for text in listed if text.startswith(_BELOW))

    def trusts(self, host: str) -> bool:
        """Tell whether that host, in its normal form, may be asked for; empty (HTTP/1.0 without Host) is none."""
        if host in self._names:
            return True
        below = self._below
        if below:
            _, dot, domain = host.partition(".")
            while dot:
                if domain in below:
                    return True
                _, dot, domain = domain.partition(".")
        return self._any and host != ""


def check_host(pattern: str) -> str | None:
    """Say why that text names no hosts, None if it does."""
    if pattern == _ANY:
        return None
    name = pattern.removeprefix(_BELOW)
    if "*" in name:
        return "a * stands for all names below a domain only: *.example.com"
    if "/" in name or "@" in name:
        return "write the host alone, without scheme, user name and path"
    if ":" in name and name[:1] != "[":
        return (
            "an IPv6 address stands in brackets" if name.count(":") > 1 else "write the host alone: ports do not count"
        )
    if name[:1] == "[" and not name.endswith("]"):
        return "write the host alone: ports do not count"
    try:
        normal = normalize_host(name)
    except BadTarget as error:
        return str(error)
    if name != pattern and (normal[:1] == "[" or normal.replace(".", "").isdigit()):
        return "there are no names below an address"
    return None

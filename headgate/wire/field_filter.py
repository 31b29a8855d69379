"""Header fields that the operator keeps out, by name; a name that ends in * stands for all that begin so.

Laws: judged once for each spelling (http1.FieldKinds), so it costs a request nothing; a denied name is denied with
underscores for hyphens, too; what the wire itself acts on is none of the filter's, and where a list of allowed names
stands, that which gives a message another meaning when it is missing passes unnamed.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.core.field_names import read_as

# Without these a request would be another one: its body is read otherwise (RFC 9110 sections 8.4 and 14.5), its write
# loses the condition it stood under (section 13.1), no WebSocket opens (RFC 6455 section 4.1), no page learns that it
# may read the answer (Fetch standard, "HTTP requests").
KEPT_OF_REQUESTS = frozenset(
    (
        b"content-encoding",
        b"content-range",
        b"if-match",
        b"if-none-match",
        b"if-unmodified-since",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"origin",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"access-control-request-private-network",
    )
)
# Without these an answer would be another one: its body is read otherwise, a cache shows it to others (RFC 9111
# section 3), or its status says nothing (RFC 9110 sections 10.2.1, 10.2.2 and 11.6.1).
KEPT_OF_ANSWERS = frozenset(
    (
        b"content-disposition",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cache-control",
        b"expires",
        b"vary",
        b"allow",
        b"location",
        b"www-authenticate",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
    )
)


class FieldFilter:
    """Which fields of one direction pass. `refuse`: a request with one that does not is refused as a whole."""

    __slots__ = ("_allowed", "_allowed_beginnings", "_denied", "_denied_beginnings", "_kept", "refuse")

    def __init__(self, allow: Iterable[str], deny: Iterable[str], kept: frozenset[bytes], refuse: bool = False) -> None:
        """Compile; `kept` passes an `allow` that does not name it."""
        self._allowed, self._allowed_beginnings = _compiled(name.lower() for name in allow)
        self._denied, self._denied_beginnings = _compiled(read_as(name.encode()).decode() for name in deny)
        self._kept = kept
        self.refuse = refuse

    def passes(self, lower: bytes) -> bool:
        """Tell whether a field of that name, in lower case, passes."""
        # An upstream of the CGI kind reads X_Secret and X-Secret as one.
        plain = read_as(lower)
        if plain in self._denied or plain.startswith(self._denied_beginnings):
            return False
        if not self._allowed and not self._allowed_beginnings:
            return True
        return lower in self._allowed or lower in self._kept or lower.startswith(self._allowed_beginnings)


def _compiled(patterns: Iterable[str]) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    """Return the whole names and the beginnings."""
    names = [pattern.encode() for pattern in patterns]
    beginnings = tuple(sorted({name[:-1] for name in names if name.endswith(b"*")}))
    return frozenset(name for name in names if not name.endswith(b"*")), beginnings

"""What hooks are given: a request and the head of an answer, as plain data.

Law: nothing here can be changed, and nothing done to it changes the request; verdicts do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import Field


class Headers:
    """Header fields: names in any case, several of one name in their order.

    Values are UTF-8; a byte that is none becomes a lone surrogate, which a verdict turns back into that byte.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        """Take pairs of bytes as they are on the wire; `Headers.of` takes text."""
        self._fields = tuple(fields)

    @classmethod
    def of(cls, fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
        """Make headers of text."""
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        return cls((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in pairs)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value under a name, or the default."""
        wanted = _wanted(name)
        for key, value in self._fields:
            if key == wanted or key.lower() == wanted:
                return value.decode("utf-8", "surrogateescape")
        return default

    def get_all(self, name: str) -> list[str]:
        """Return all values under a name."""
        wanted = _wanted(name)
        return [value.decode("utf-8", "surrogateescape") for key, value in self._fields if key.lower() == wanted]

    def items(self) -> list[tuple[str, str]]:
        """Return names, as they were written, and values."""
        return [(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in self._fields]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name, _ in self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash(self._fields)

    def __repr__(self) -> str:
        # Names only: values may be credentials.
        return f"<Headers {', '.join(self)}>"


def _wanted(name: str) -> bytes:
    return name.lower().encode("utf-8", "replace")


class Request(NamedTuple):
    """A request, as the gates before have left it.

    `host` and `path` are in the form in which routes compare them, `query` is what followed the question mark, as it
    came. `headers` are the end-to-end fields; who the client is behind proxies stands in `address`. `params` are the
    named parts of the route's path. `service` is empty on a route that answers by itself. `body` is None unless the
    plugin says `needs_body`. `time` is when the hook was called, in seconds since 1970.
    """

    method: str = "GET"
    path: str = "/"
    query: str = ""
    headers: Headers = Headers()
    body: bytes | None = None
    params: Mapping[str, str] = {}
    identity: Identity = ANONYMOUS
    scheme: str = "http"
    host: str = ""
    address: str = ""
    request_id: str = ""
    route: str = ""
    service: str = ""
    time: float = 0.0


class Response(NamedTuple):
    """The head of an answer; its body streams past plugins."""

    status: int = 200
    headers: Headers = Headers()

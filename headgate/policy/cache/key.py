"""Which requests are the same, and who shares their answers.

Laws:
- Parts of a key cannot run into each other, whatever they hold.
- Whoever showed who they are shares nothing with those who did not, unless configuration says `shared`.
- What is not in the key must not change the answer: Vary is, and so are the route and the service that answer.
- A parameter that does not count is found by its name as applications read it, escapes and all; what they may read in
  two ways counts.
"""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import unquote_to_bytes, urljoin

from headgate.core.identity import Identity
from headgate.core.message import Fields, RequestHead, ResponseHead, tokens
from headgate.core.uri import BadTarget, normalize_path, parse_authority, split_target
from headgate.policy.cache.settings import CacheKey

_SIZE = 20
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
# Lists whose members mean the same in any order and letter case, their weights aside (RFC 9110 section 12.5).
_LISTS = frozenset((b"accept-encoding", b"accept-language", b"accept-charset"))
_MOST_NAMES = 16
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Keys:
    """The keys of one route's requests."""

    __slots__ = ("_all", "_excluded", "_headers", "_included", "_ordered", "_partition", "_prefixes", "_route")

    def __init__(self, settings: CacheKey, route: str) -> None:
        """`route` names the route: another one's answers are other answers."""
        self._route = route
        self._all = settings.query == "all"
        self._ordered = settings.ordered
        self._included = frozenset(name.encode() for name in settings.include)
        self._excluded = frozenset(name.encode() for name in settings.exclude if not name.endswith("*"))
        self._prefixes = tuple(name[:-1].encode() for name in settings.exclude if name.endswith("*"))
        self._headers = tuple(sorted({name.lower().encode() for name in settings.headers}))
        self._partition = settings.partition

    def partition(self, identity: Identity) -> bytes:
        """Return who shares answers with that caller; empty: everybody who did not say who they are."""
        if self._partition == "shared" or identity.kind == "anonymous":
            return b""
        if identity.tenant and self._partition == "auto":
            return _digest(("tenant", identity.tenant))
        return _digest((identity.kind, identity.method, identity.tenant, identity.id))

    def primary(self, head: RequestHead, partition: bytes, service: str) -> bytes:
        """Return the key (20 bytes) of a request answered by that service, before Vary."""
        query = head.query
        if query:
            query = self._query(query, self._ordered)
        shown = values_of(head.fields, self._headers) if self._headers else None
        parts = (partition, self._route, service, head.scheme, head.authority, head.path, query, shown)
        return _digest(parts)

    def variant(self, primary: bytes, names: tuple[bytes, ...], head: RequestHead) -> bytes:
        """Return the key (20 bytes) of a request whose answers differ by the fields `names`."""
        return _digest((primary, names, values_of(head.fields, names)))

    def url(self, head: RequestHead) -> str:
        """Return what its entry is purged by: scheme://authority/path?query; parameters that count, sorted."""
        return self._url(head.scheme, head.authority.decode(), head.path, head.query)

    def invalidated(self, head: RequestHead, response: ResponseHead) -> list[str]:
        """Return the URLs whose entries an answer to an unsafe method makes invalid (RFC 9111 section 4.4), if any."""
        if head.method in _SAFE or not 200 <= response.status < 400:
            return []
        own = self.url(head)
        urls = [own]
        base = f"{head.scheme}://{head.authority.decode()}{head.path}"
        for name in (b"location", b"content-location"):
            value = response.get(name)
            if value is None:
                continue
            try:
                scheme, authority, path, query = _parts(urljoin(base, value.decode("ascii")))
            except ValueError:
                continue
            # What another origin holds is not for this one to throw away.
            if (scheme, authority) == (head.scheme, head.authority.decode()):
                url = self._url(scheme, authority, path, query)
                if url not in urls:
                    urls.append(url)
        return urls

    def _url(self, scheme: str, authority: str, path: str, query: bytes | None) -> str:
        text = f"{scheme}://{authority}{path}"
        return text if query is None else f"{text}?{self._query(query, False).decode('latin-1')}"

    def _query(self, query: bytes, ordered: bool) -> bytes:
        """Return the parameters that count. Those of one name keep their order: it may mean something."""
        plain = self._all and not self._excluded and not self._prefixes
        if plain and (ordered or b"&" not in query):
            return query
        kept = [piece for piece in query.split(b"&") if piece and (plain or self._counts(piece))]
        if not ordered:
            kept.sort(key=_name)
        return b"&".join(kept)

    def _counts(self, piece: bytes) -> bool:
        if b";" in piece:
            # Some applications take it for an ampersand, and would see a parameter that the key does not.
            return True
        name = _name(piece)
        if not self._all:
            return name in self._included
        return not (name in self._excluded or (self._prefixes and name.startswith(self._prefixes)))


def purge_url(text: str) -> str:
    """Bring a URL that somebody wrote into the form that `Keys.url` returns where all parameters count.

    Raises:
        BadTarget: it is none (core.uri).
    """
    scheme, authority, path, query = _parts(text)
    written = f"{scheme}://{authority}{path}"
    if query is None:
        return written
    kept = sorted((piece for piece in query.split(b"&") if piece), key=_name) if b"&" in query else [query]
    return f"{written}?{b'&'.join(kept).decode('latin-1')}"


def merged(names: tuple[bytes, ...], known: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names to keep in Varies when an answer varies by `names` and older ones by `known`."""
    both = tuple(sorted({*names, *known}))
    return both if len(both) <= _MOST_NAMES else names


def values_of(fields: Fields, names: tuple[bytes, ...]) -> tuple[bytes | None, ...]:
    """Return the values of these fields, None for one that is not there, in a form in which equal ones are the same.

    Lines of one field are joined, and the spaces around commas do not count (RFC 9111 section 4.1).
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        lower = name.lower()
        if lower in names:
            if lower in _LISTS:
                value = b",".join(tokens(value))
            elif b"," in value:
                value = b",".join(part.strip(b" \t") for part in value.split(b","))
            found.setdefault(lower, []).append(value.strip(b" \t"))
    return tuple(_joined(name, found.get(name)) for name in names)


def _joined(name: bytes, values: list[bytes] | None) -> bytes | None:
    if values is None:
        return None
    value = b",".join(values)
    return b",".join(sorted(value.split(b","))) if name in _LISTS and b"," in value else value


def _name(piece: bytes) -> bytes:
    name = piece.partition(b"=")[0]
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name


def _digest(parts: tuple[object, ...]) -> bytes:
    # How Python writes a tuple of texts and bytes down, no two of them alike.
    return blake2b(repr(parts).encode(), digest_size=_SIZE).digest()


def _parts(text: str) -> tuple[str, str, str, bytes | None]:
    """Take a URL apart, all in normal form."""
    try:
        target = split_target(text.encode("ascii"))
    except UnicodeEncodeError:
        raise BadTarget("not_ascii") from None
    if target.scheme is None or target.authority is None:
        raise BadTarget("bad_scheme")
    default = _DEFAULT_PORTS[target.scheme]
    host, port = parse_authority(target.authority, default)
    authority = host if port == default else f"{host}:{port}"
    return target.scheme, authority, normalize_path(target.path, encoded_slashes=True), target.query

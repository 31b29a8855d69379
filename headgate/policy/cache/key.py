"""Which requests are the same, and who shares their answers.

Laws:
- Parts of a key cannot run into each other, whatever they hold.
- Whoever showed who they are shares nothing with those who did not, unless configuration says `shared`.
- What is not in the key must not change the answer: Vary is, and so are the route and the service that answer.
- What was kept under other rules of whose it is, as before a reload, is not found under these.
- A parameter that does not count is found by its name as applications read it, escapes and all; what they may read in
  two ways counts.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from urllib.parse import unquote_to_bytes, urljoin

from headgate.core.identity import Identity
from headgate.core.message import Fields, RequestHead, ResponseHead, tokens
from headgate.core.uri import BadTarget, normalize_path, parse_authority, split_target
from headgate.policy.cache.settings import CacheKey

_SIZE = 20
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
# Lists whose members mean the same in any order and letter case, their weights aside (RFC 9110 section 12.5). Nobody
# can rely on what some make of the order of languages (section 12.5.4).
_LISTS = frozenset((b"accept-encoding", b"accept-language", b"accept-charset"))
_MOST_NAMES = 16
# Bytes of a part up to which what is made of it is remembered, and how many are, of each route.
_SHORT = 256
_MOST_QUERIES = 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str]
"""Scheme and authority, in normal form."""


class Keys:
    """The keys of one route's requests."""

    __slots__ = (
        "_all",
        "_excluded",
        "_headers",
        "_included",
        "_ordered",
        "_partition",
        "_prefixes",
        "_queries",
        "_scope",
    )

    def __init__(self, settings: CacheKey, route: str, *rules: object) -> None:
        """`route` names the route: another one's answers are other answers. So are those under other `rules`."""
        self._all = settings.query == "all"
        self._ordered = settings.ordered
        self._included = frozenset(name.encode() for name in settings.include)
        self._excluded = frozenset(name.encode() for name in settings.exclude if not name.endswith("*"))
        self._prefixes = tuple(name[:-1].encode() for name in settings.exclude if name.endswith("*"))
        self._headers = tuple(sorted({name.lower().encode() for name in settings.headers}))
        self._partition = settings.partition
        self._queries: dict[bytes, bytes] = {}
        counting = sorted(self._included), sorted(settings.exclude), self._headers
        self._scope = _digest((route, self._all, self._ordered, self._partition, *counting, *rules))

    def partition(self, identity: Identity) -> bytes:
        """Return who shares answers with that caller; empty: everybody who did not say who they are."""
        if self._partition == "shared":
            return b""
        if identity.kind == "anonymous":
            # Who shows nothing may choose a tenant, where that is allowed.
            return _digest(("anonymous", identity.tenant)) if identity.tenant else b""
        if identity.tenant and self._partition == "auto":
            return _digest(("tenant", identity.tenant))
        return _digest((identity.kind, identity.method, identity.tenant, identity.id))

    def primary(self, head: RequestHead, partition: bytes, service: str, fields: Fields | None = None) -> bytes:
        """Return the key (20 bytes) of a request answered by that service, before Vary.

        `fields` are those that the service sees, where they are not those of the request.
        """
        query = head.query
        if query:
            # Without any that count it is as if there were none.
            query = self._query(query) or None
        shown = values_of(head.fields if fields is None else fields, self._headers) if self._headers else None
        parts = (partition, self._scope, service, head.scheme, head.authority, head.path, query, shown)
        if shown is None and len(head.path) + (len(query) if query else 0) <= _SHORT:
            return _remembered(parts)
        return _digest(parts)

    def variant(self, primary: bytes, names: tuple[bytes, ...], fields: Fields) -> bytes:
        """Return the key (20 bytes) of a request whose answers differ by `names`; the service sees these `fields`."""
        values = values_of(fields, names)
        for value in values:
            if value is not None and len(value) > _SHORT:
                return _digest((primary, names, values))
        return _remembered((primary, names, values))

    def url(self, head: RequestHead, origin: Origin | None = None) -> str:
        """Return what its entry is purged by: scheme://authority/path?query; parameters that count, sorted.

        `origin` is the one that the client asked for, where it is not that of the request.
        """
        scheme, authority = origin or origin_of(head)
        return self._url(scheme, authority, head.path, head.query)

    def written(self, url: str) -> str:
        """Return a URL as `url` has it: with the parameters that count, of those that it names.

        Raises:
            BadTarget: it is none (core.uri).
        """
        return self._url(*_parts(url))

    def invalidated(self, head: RequestHead, response: ResponseHead, origin: Origin | None = None) -> list[str]:
        """Return the URLs whose entries an answer to an unsafe method makes invalid (RFC 9111 section 4.4), if any."""
        if head.method in _SAFE or not 200 <= response.status < 400:
            return []
        urls = [self.url(head, origin)]
        here = origin or origin_of(head)
        base = f"{here[0]}://{here[1]}{head.path}"
        for name in (b"location", b"content-location"):
            value = response.get(name)
            if value is None:
                continue
            try:
                scheme, authority, path, query = _parts(urljoin(base, value.decode("ascii")))
            except ValueError:
                continue
            # What another origin holds is not for this one to throw away.
            if (scheme, authority) == here:
                url = self._url(scheme, authority, path, query)
                if url not in urls:
                    urls.append(url)
        return urls

    def _url(self, scheme: str, authority: str, path: str, query: bytes | None) -> str:
        text = f"{scheme}://{authority}{path}"
        if query is None:
            return text
        kept = self._query(query)
        if query and not kept:
            return text
        return f"{text}?{(_sorted(kept) if self._ordered else kept).decode('latin-1')}"

    def _query(self, query: bytes) -> bytes:
        """Return the parameters that count, sorted unless their order does."""
        plain = self._all and not self._excluded and not self._prefixes
        if plain and (self._ordered or b"&" not in query):
            return query
        known = self._queries.get(query)
        if known is not None:
            return known
        kept = query
        if not plain:
            kept = b"&".join([piece for piece in query.split(b"&") if piece and self._counts(piece)])
        if not self._ordered:
            kept = _sorted(kept)
        if len(query) <= _SHORT:
            if len(self._queries) >= _MOST_QUERIES:
                self._queries.clear()
            self._queries[query] = kept
        return kept

    def _counts(self, piece: bytes) -> bool:
        if b";" in piece:
            # Some applications take it for an ampersand, and would see a parameter that the key does not.
            return True
        name = parameter_name(piece)
        if not self._all:
            return name in self._included
        return not (name in self._excluded or (self._prefixes and name.startswith(self._prefixes)))


def origin_of(head: RequestHead) -> Origin:
    """Return the origin that a request names."""
    return head.scheme, head.authority.decode()


def written_origin(scheme: str, host: str, port: int) -> Origin:
    """Return an origin as it is written: without the port that its scheme has anyway."""
    return scheme, host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"


def purge_url(text: str) -> str:
    """Bring a URL that somebody wrote into the form that `Keys.url` returns where all parameters count.

    Raises:
        BadTarget: it is none (core.uri).
    """
    scheme, authority, path, query = _parts(text)
    written = f"{scheme}://{authority}{path}"
    if query is None:
        return written
    return f"{written}?{_sorted(query).decode('latin-1')}"


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
                value = _in_order(value) if len(value) <= _SHORT else _of_list(value)
            elif b"," in value:
                value = b",".join(part.strip(b" \t") for part in value.split(b","))
            found.setdefault(lower, []).append(value.strip(b" \t"))
    return tuple([_joined(name, found.get(name)) for name in names])


def _joined(name: bytes, values: list[bytes] | None) -> bytes | None:
    if values is None:
        return None
    if len(values) == 1:
        return values[0]
    value = b",".join(values)
    return _of_list(value) if name in _LISTS else value


def _of_list(value: bytes) -> bytes:
    return b",".join(sorted(tokens(value)))


_in_order = lru_cache(maxsize=1024)(_of_list)


def _sorted(query: bytes) -> bytes:
    """Return the parameters by their names. Those of one name keep their order: it may mean something."""
    if b"&" not in query:
        return query
    pieces = [piece for piece in query.split(b"&") if piece]
    pieces.sort(key=parameter_name)
    return b"&".join(pieces)


def parameter_name(piece: bytes) -> bytes:
    """Return the name in a piece of a query, as applications read it."""
    name = piece.partition(b"=")[0]
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name


def _digest(parts: tuple[object, ...]) -> bytes:
    # How Python writes a tuple of texts and bytes down, no two of them alike.
    return blake2b(repr(parts).encode(), digest_size=_SIZE).digest()


# What is asked for often is not digested anew; some 4 MiB at most.
_remembered = lru_cache(maxsize=4096)(_digest)


def _parts(text: str) -> tuple[str, str, str, bytes | None]:
    """Take a URL apart, all in normal form."""
    try:
        target = split_target(text.encode("ascii"))
    except UnicodeEncodeError:
        raise BadTarget("not_ascii") from None
    if target.scheme is None or target.authority is None:
        raise BadTarget("bad_scheme")
    host, port = parse_authority(target.authority, _DEFAULT_PORTS[target.scheme])
    scheme, authority = written_origin(target.scheme, host, port)
    return scheme, authority, normalize_path(target.path, encoded_slashes=True), target.query

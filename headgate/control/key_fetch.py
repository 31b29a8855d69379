"""The key set of an issuer, fetched: where it is, by OpenID Connect discovery if so configured, and what is in it.

Laws: one bound in time for all of it, one in size for each document, read piece by piece; no redirect is followed, no
proxy of the environment asked, nothing unpacked. A document that is anything but what it must be is no key set. Keys
come over TLS, or from where the operator wrote that they do not.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import httpx

from headgate.auth.key_ring import BadKey, algorithms_of, read_key_set
from headgate.auth.settings import JwtIssuer, KeySetSource
from headgate.config.problems import without_url_secrets
from headgate.core.address import is_loopback
from headgate.core.strict_json import read_object
from headgate.wire.patience import within
from headgate.wire.tls import client_context

_WELL_KNOWN = "/.well-known/openid-configuration"
# Besides the body: what none of our questions has a use for.
_FIELDS = {
    "Accept": "application/json, application/jwk-set+json",
    "Accept-Encoding": "identity",
    "User-Agent": "headgate",
}
_MAX_AGE = re.compile(r"(?:^|[ ,])max-age=\"?([0-9]{1,9})", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|[ ,])no-(?:store|cache)\b", re.IGNORECASE)


class NotFetched(Exception):
    """There is no key set at the moment; the sentence is for the operator."""


class FetchedKeys(NamedTuple):
    """A key set in one form, whatever the order of keys and members it came in.

    `usable` counts the keys that can be used with the algorithms of the issuer; `max_age` are the seconds that the
    issuer says it is good for, None when it says nothing.
    """

    body: bytes
    usable: int
    max_age: float | None


async def fetch_keys(issuer: JwtIssuer) -> FetchedKeys:
    """Fetch the keys of an issuer that has `key_set` or `discovery`.

    Raises:
        NotFetched: with a sentence, for whatever kept them from coming.
    """
    source = issuer.discovery or issuer.key_set
    assert source is not None
    try:
        context = client_context(ca=source.ca)
        async with (
            within(source.timeout),
            httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=None) as client,
        ):
            url = source.url if issuer.discovery is None else await _discovered(client, issuer, source)
            document, fields = await _get(client, url or "", source.max_bytes)
    except TimeoutError:
        raise NotFetched(f"no answer within {source.timeout:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        raise NotFetched(_sentence(error)) from None
    body, usable = _key_set(issuer, document)
    return FetchedKeys(body, usable, _max_age(fields.get("cache-control", "")))


def discovery_url(issuer: JwtIssuer, source: KeySetSource) -> str:
    """Return where the discovery document is (OpenID Connect Discovery 1.0 section 4.1)."""
    return source.url or f"{(issuer.issuer or '').removesuffix('/')}{_WELL_KNOWN}"


async def _discovered(client: httpx.AsyncClient, issuer: JwtIssuer, source: KeySetSource) -> str:
    """Return jwks_uri of the discovery document."""
    url = discovery_url(issuer, source)
    body, _ = await _get(client, url, source.max_bytes)
    try:
        document = read_object(body)
    except ValueError as error:
        raise NotFetched(f"the discovery document cannot be read: {error}") from None
    # Section 4.3: the very same text, so that no issuer can answer for another one.
    if document.get("issuer") != issuer.issuer:
        raise NotFetched("the discovery document is of another issuer")
    keys = document.get("jwks_uri")
    if not isinstance(keys, str) or not _trusted(keys, url):
        raise NotFetched("the discovery document names no jwks_uri that keys may come from")
    return keys


def _trusted(url: str, named_by: str) -> bool:
    """Tell whether keys may come from a URL that a document at `named_by` has named."""
    keys, document = httpx.URL(url), httpx.URL(named_by)
    if keys.scheme == "https":
        return bool(keys.host)
    if keys.scheme != "http" or document.scheme != "http":
        return False
    # In the clear as the document itself, and from no other machine.
    return keys.host == document.host or (is_loopback(keys.host) and is_loopback(document.host))


async def _get(client: httpx.AsyncClient, url: str, most: int) -> tuple[bytes, httpx.Headers]:
    async with client.stream("GET", url, headers=_FIELDS) as response:
        if response.status_code != 200:
            raise NotFetched(f"status {response.status_code} from {_shown(url)}")
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise NotFetched(f"a packed document from {_shown(url)}, which was not asked for")
        pieces: list[bytes] = []
        size = 0
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > most:
                raise NotFetched(f"more than {most} bytes from {_shown(url)}")
            pieces.append(piece)
        return b"".join(pieces), response.headers


def _key_set(issuer: JwtIssuer, document: bytes) -> tuple[bytes, int]:
    """Return a key set in its one form, and how many of its keys can be used."""
    try:
        found = read_object(document)
        listed: Any = found.get("keys")
        if not isinstance(listed, list):
            raise NotFetched("the key set has no list of keys")
        keys, skipped = read_key_set(document)
    except BadKey as error:
        raise NotFetched(str(error)) from None
    except ValueError as error:
        raise NotFetched(f"the key set cannot be read: {error}") from None
    wanted = frozenset(algorithms_of(issuer))
    usable = sum(not wanted.isdisjoint(key.algorithms) for key in keys)
    if not usable:
        why = f" ({skipped[0]})" if skipped else ""
        raise NotFetched(f"the key set has no key for {', '.join(sorted(wanted))}{why}")
    written = sorted(json.dumps(each, sort_keys=True, separators=(",", ":")) for each in listed)
    return f'{{"keys":[{",".join(written)}]}}'.encode(), usable


def _max_age(cache_control: str) -> float | None:
    """Return what Cache-Control says of how long an answer is good (RFC 9111 section 5.2.2)."""
    if _NOT_KEPT.search(cache_control):
        return 0.0
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found is not None else None


def _shown(url: str) -> str:
    """Return a URL for the log: without the query and the password, which are nobody's business."""
    return without_url_secrets(url.partition("?")[0])


def _sentence(error: Exception) -> str:
    text = without_url_secrets(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

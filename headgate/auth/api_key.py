"""API keys: what is known of one, how it is kept, and the method that judges them.

    key = prefix + random text        shown once, never kept
    digest = HMAC-SHA-256(pepper, key)    what the database and the workers' file know it by

Laws:
- Whatever is wrong with a key (form, length, unknown, revoked, expired), the same work is done and the same reason is
  given; only the operator's sentence differs, and never holds a byte of what was shown.
- A key is looked up by its digest, so how long a comparison takes tells nothing of any key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from headgate.auth.method import Known, Refused
from headgate.auth.settings import ApiKeys, StaticKey
from headgate.core.identity import Identity
from headgate.core.message import RequestHead

KEY_RANDOM_BYTES: Final = 32
LONGEST_KEY: Final = 512
LONGEST_RECORD: Final = 16_384
DIGEST_BYTES: Final = 32

_FORM: Final = re.compile(rb"[\x21-\x7e]{1,512}")
_STATIC_HASH: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_SHOWN: Final = 4
_VERSION: Final = 1
_FIELDS: Final = 9
_BEARER: Final = b"bearer "
_REASON: Final = "invalid_api_key"


class KeysUnavailable(Exception):
    """Nobody can say at the moment which keys there are; the sentence says why."""


class KeyRecord(NamedTuple):
    """What is known of a key. `addresses` are CIDRs, none = any; `expires` is wall-clock seconds, math.inf = never."""

    id: str
    owner: str = ""
    tenant: str = ""
    roles: tuple[str, ...] = ()
    tier: str = ""
    scopes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    expires: float = math.inf


def digest(pepper: bytes, key: bytes) -> bytes:
    """Return what a key is known by."""
    return hmac.digest(pepper, key, "sha256")


def new_key(prefix: str, random: bytes) -> str:
    """Make a key of random bytes, URL-safe.

    Raises:
        ValueError: for fewer than 32 bytes.
    """
    if len(random) < KEY_RANDOM_BYTES:
        raise ValueError(f"a key takes at least {KEY_RANDOM_BYTES} random bytes")
    return prefix + urlsafe_b64encode(random).rstrip(b"=").decode()


def hint(key: str, prefix: str) -> str:
    """Return as much of a key as may be shown: enough to tell it from others, too little to guess it."""
    return key[: len(prefix) + _SHOWN] + "..."


def static_hash(key: bytes) -> str:
    """Return what `identity.api_keys.static` knows a key by. No pepper: its random bits are enough."""
    return "sha256:" + hashlib.sha256(key).hexdigest()


def read_static_hash(text: str) -> bytes:
    """Return the digest in `sha256:HEX`.

    Raises:
        ValueError: with a sentence, for anything else.
    """
    match = _STATIC_HASH.fullmatch(text)
    if match is None:
        raise ValueError("expected sha256: and 64 hexadecimal digits, as `headgate keys hash` prints it")
    return bytes.fromhex(match[1])


def read_moment(text: str) -> float:
    """Return the end that a day or moment of ISO 8601 means, in wall-clock seconds; without an offset it is UTC.

    Raises:
        ValueError: with a sentence, for anything else.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("expected a day or moment, such as 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


# -- records as bytes ----------------------------------------------------------------------------------------------


def pack(record: KeyRecord) -> bytes:
    """Turn a record into bytes.

    Raises:
        ValueError: when it is longer than LONGEST_RECORD.
    """
    expires = None if record.expires == math.inf else record.expires
    packed = json.dumps([_VERSION, *record[:-1], expires], ensure_ascii=False, separators=(",", ":")).encode()
    if len(packed) > LONGEST_RECORD:
        raise ValueError(
            f"what belongs to key {record.id} takes {len(packed):,} bytes; {LONGEST_RECORD:,} are the most"
        )
    return packed


def unpack(packed: bytes) -> KeyRecord:
    """Turn bytes into the record that was packed.

    Raises:
        ValueError: with a sentence, for bytes that are none.
    """
    try:
        version, *fields = json.loads(packed)
        if version != _VERSION or len(fields) != _FIELDS - 1:
            raise ValueError
        id_, owner, tenant, roles, tier, scopes, addresses, expires = fields
        ends = math.inf if expires is None else float(expires)
        return KeyRecord(id_, owner, tenant, tuple(roles), tier, tuple(scopes), tuple(addresses), ends)
    except (ValueError, TypeError):
        raise ValueError("this is no record of a key of this version") from None


# -- the method ----------------------------------------------------------------------------------------------------


class ApiKeyMethod:
    """API keys as a way to show who one is. The scheme ApiKey is not registered with IANA: no scheme for keys is."""

    kind = "api_key"
    challenge = "ApiKey"
    in_headers = True

    __slots__ = (
        "_asks",
        "_bearer",
        "_look_up",
        "_pepper",
        "_prefix",
        "_read",
        "_settings",
        "_sizes",
        "_static",
        "name",
    )

    def __init__(self, settings: ApiKeys, pepper: bytes, look_up: Callable[[bytes], bytes | None]) -> None:
        """`look_up` returns the packed record that a digest belongs to; it raises KeysUnavailable and nothing else.

        Raises:
            ValueError: with a sentence, when a static key is not well-formed.
        """
        self.name = settings.name
        self._settings = settings
        self._pepper = pepper
        self._look_up = look_up
        self._prefix = settings.prefix.encode()
        self._bearer = settings.bearer
        self._asks = settings.unknown == "ask"
        self._read = frozenset(name.lower().encode() for name in settings.headers)
        self._sizes = frozenset(map(len, (*self._read, *((b"authorization",) if settings.bearer else ()))))
        self._static = {read_static_hash(each.hash): static_record(each) for each in settings.static}

    def find(self, head: RequestHead) -> bytes | None:
        """Return the key that a request shows, in a header for keys or else behind Bearer.

        One that only another way can know, where `unknown` says so, is none.
        """
        key = self._shown(head)
        return None if self._asks and key is not None and self._is_unknown(key) else key

    def _is_unknown(self, key: bytes) -> bool:
        shown = key[: LONGEST_KEY + 1]
        if not shown.startswith(self._prefix) or hashlib.sha256(shown).digest() in self._static:
            return False
        try:
            return self._look_up(digest(self._pepper, shown)) is None
        except KeysUnavailable:
            return True

    def _shown(self, head: RequestHead) -> bytes | None:
        found: bytes | None = None
        shown: bytes | None = None
        sizes = self._sizes
        for name, value in head.fields:
            # Most names differ in their length already.
            if len(name) not in sizes:
                continue
            lowered = name.lower()
            if lowered in self._read:
                # Two keys are joined as RFC 9110 section 5.3 joins fields, and what comes out is none.
                found = value if found is None or found == value else found + b", " + value
            elif lowered == b"authorization" and self._bearer:
                shown = value if shown is None or shown == value else shown + b", " + value
        return self._borne(shown) if found is None and shown is not None else found

    def _borne(self, value: bytes) -> bytes | None:
        if value[:7].lower() != _BEARER:
            return None
        token = value[7:].strip(b" ")
        if self._prefix:
            return token if token.startswith(self._prefix) else None
        # What has two dots is a signed token (RFC 7515 section 7.1).
        return None if token.count(b".") == 2 else token

    def judge(self, credential: bytes, now: float) -> Known | Refused:
        """Return whose key this is, or that it is not accepted."""
        # Nothing longer is hashed than can be a key; cut there, it is still too long to be one.
        shown = credential[: LONGEST_KEY + 1]
        record = self._static.get(hashlib.sha256(shown).digest())
        static = record is not None
        damaged = False
        try:
            packed = self._look_up(digest(self._pepper, shown))
        except KeysUnavailable as error:
            if not static:
                return Refused("identity_unavailable", str(error))
            packed = None
        if not static and packed is not None:
            try:
                record = unpack(packed)
            except ValueError:
                damaged = True
        if _FORM.fullmatch(shown) is None:
            return Refused(_REASON, "not the form of a key" if len(shown) <= LONGEST_KEY else "too long for a key")
        if not static and not shown.startswith(self._prefix):
            return Refused(_REASON, f"it does not begin with {self._settings.prefix}")
        if record is None:
            return Refused(
                _REASON, "its record cannot be read" if damaged else "there is no such key, or it was revoked"
            )
        if record.expires <= now:
            return Refused(_REASON, f"key {record.id} has expired")
        return Known(identity_of(record, self.name), record.expires)

    def hide(self, head: RequestHead) -> None:
        """Take every key off the request, one behind Bearer, too, where a header for keys has been before it."""
        hidden = self._read
        if self._bearer:
            shown = [value for name, value in head.fields if name.lower() == b"authorization"]
            if self._borne(b", ".join(dict.fromkeys(shown))) is not None:
                hidden |= {b"authorization"}
        head.fields = [field for field in head.fields if field[0].lower() not in hidden]

    def __repr__(self) -> str:
        return f"<ApiKeyMethod {self.name}, {len(self._static)} static>"


def static_record(key: StaticKey) -> KeyRecord:
    """Return the record of a static key.

    Raises:
        ValueError: with a sentence, when `expires` is no moment.
    """
    expires = math.inf if key.expires is None else read_moment(key.expires)
    lists = (tuple(key.roles), tuple(key.scopes), tuple(key.addresses))
    return KeyRecord(key.id, key.owner, key.tenant, lists[0], key.tier, lists[1], lists[2], expires)


def identity_of(record: KeyRecord, method: str) -> Identity:
    """Return the caller whose key this is. `addresses` and bindings in its scopes are for those who judge access."""
    claims = {
        "key_id": record.id,
        "owner": record.owner,
        "tenant": record.tenant,
        "tier": record.tier,
        "roles": list(record.roles),
        "scopes": list(record.scopes),
        "addresses": record.addresses,
    }
    return Identity(
        "api_key",
        record.id,
        record.tenant,
        frozenset(record.roles),
        record.tier,
        frozenset(record.scopes),
        claims,
        method,
    )

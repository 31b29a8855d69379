"""HTTP Basic (RFC 7617): user names and passwords, for what can do nothing better.

A password is kept as `scrypt:N:R:P:SALT:HASH`, salt and hash in hexadecimal (RFC 7914): a reader needs to know nothing
else, and no character of it means anything to YAML or a shell.

Laws:
- A user that does not exist costs what one that does costs, so that the time taken does not say who is there.
- A hash decides how much work a request makes: what it may ask for is bounded when it is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import re
import unicodedata
from functools import partial
from typing import NamedTuple

from headgate.auth.method import Judged, Known, NeedWork, Refused
from headgate.auth.settings import Basic, BasicUser
from headgate.core.identity import Identity
from headgate.core.message import RequestHead

# Characters of a credential in base64: about 1.5 KB for name and password together.
_LONGEST = 2048
# RFC 7617 section 2: neither may hold a control character.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HASH = re.compile(r"scrypt:(\d{1,6}):(\d{1,2}):(\d{1,2}):((?:[0-9a-f]{2}){8,64}):([0-9a-f]{64})", re.ASCII)
_EXPECTED = "expected scrypt:N:R:P:SALT:HASH"
# OWASP's Password Storage Cheat Sheet: 2**14, 8, 5 is worth 2**17, 8, 1 and takes 16 MiB in place of 128.
_N, _R, _P = 2**14, 8, 5
_LEAST_N = 2**10
# Bytes that one check may take (RFC 7914 section 5: 128 * N * r), and rounds of it.
_MOST_MEMORY = 64 * 1024 * 1024
_MOST_P = 16
_LENGTH = 32
_WRONG = "unknown user or wrong password"


class PasswordHash(NamedTuple):
    """A hash that was read: the cost (N, r, p), the salt and what must come out."""

    n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    @property
    def cost(self) -> tuple[int, int, int]:
        """What a check takes: N, r and p."""
        return self.n, self.r, self.p

    def fits(self, password: str) -> bool:
        """Tell whether this is the password; takes about 0.2 s of a core, outside of the interpreter's lock."""
        return hmac.compare_digest(self.hash, _derive(password, self.salt, *self.cost))


def hash_password(password: str, salt: bytes) -> str:
    """Return what the configuration keeps of a password; `salt` is 8 to 64 random bytes, 16 by custom.

    Raises:
        ValueError: for a password that no client could send, or a salt of another length.
    """
    if _CONTROL.search(password) or len(password.encode()) > _LONGEST // 2:
        raise ValueError(f"a password has no control characters and at most {_LONGEST // 2} bytes")
    if not 8 <= len(salt) <= 64:
        raise ValueError(f"a salt has 8 to 64 bytes, not {len(salt)}")
    return f"scrypt:{_N}:{_R}:{_P}:{salt.hex()}:{_derive(password, salt, _N, _R, _P).hex()}"


def read_hash(text: str) -> PasswordHash:
    """Read what `hash_password` wrote.

    Raises:
        ValueError: with a sentence that shows nothing of the text.
    """
    found = _HASH.fullmatch(text)
    if found is None:
        raise ValueError(_EXPECTED)
    n, r, p = int(found[1]), int(found[2]), int(found[3])
    if n < _LEAST_N or n & (n - 1):
        raise ValueError(f"N of a scrypt hash must be a power of two and at least {_LEAST_N}")
    if not r or not p or p > _MOST_P or 128 * n * r > _MOST_MEMORY:
        raise ValueError(f"a scrypt hash may ask for {_MOST_MEMORY >> 20} MiB (128 * N * R) and P from 1 to {_MOST_P}")
    return PasswordHash(n, r, p, bytes.fromhex(found[4]), bytes.fromhex(found[5]))


class BasicMethod:
    """User names and passwords that the configuration knows."""

    kind = "basic"
    challenge = "Basic"
    in_headers = True

    __slots__ = ("_nobody", "_users", "name")

    def __init__(self, settings: Basic) -> None:
        """Read all hashes.

        Raises:
            ValueError: for a hash that cannot be read.
        """
        self.name = settings.name
        self._users = {_normal(user.name): (user, read_hash(user.hash)) for user in settings.users}
        n, r, p = max((each.cost for _, each in self._users.values()), key=math.prod, default=(_N, _R, _P))
        # Nobody's hash: all zeros come out of no password that anybody could find.
        self._nobody = PasswordHash(n, r, p, bytes(16), bytes(_LENGTH))

    def find(self, head: RequestHead) -> bytes | None:
        """Return what stands behind `Basic`, or None when that scheme is not used (RFC 9110 section 11.1: any case)."""
        values = [value for name, value in head.fields if len(name) == 13 and name.lower() == b"authorization"]
        if not values:
            return None
        # Of several, whoever reads the request behind us might take another one: together they are no credential.
        shown = values[0] if len(values) == 1 else b", ".join(dict.fromkeys(values))
        scheme, _, credential = shown.partition(b" ")
        return credential.strip(b" ") if scheme.lower() == b"basic" else None

    def judge(self, credential: bytes, now: float) -> Judged:
        """Return the work that a password takes, or why what came is no user name with a password."""
        shown = _parse(credential)
        if isinstance(shown, Refused):
            return shown
        name, password = shown
        user, kept = self._users.get(name, (None, self._nobody))
        return NeedWork(partial(self._verdict, user, kept, password))

    def _verdict(self, user: BasicUser | None, kept: PasswordHash, password: str) -> Known | Refused:
        if not kept.fits(password) or user is None:
            return Refused("invalid_credentials", _WRONG)
        identity = Identity(
            kind="user",
            id=user.name,
            tenant=user.tenant,
            roles=frozenset(user.roles),
            tier=user.tier,
            scopes=frozenset(user.scopes),
            method=self.name,
        )
        return Known(identity, math.inf)

    def hide(self, head: RequestHead) -> None:
        """Take Authorization off, where it is of this scheme."""
        if self.find(head) is not None:
            head.fields = [field for field in head.fields if field[0].lower() != b"authorization"]


def _parse(credential: bytes) -> tuple[str, str] | Refused:
    """Return user name and password, both in their normal form."""
    if len(credential) > _LONGEST:
        return Refused("invalid_credentials", f"longer than {_LONGEST} characters")
    try:
        text = base64.b64decode(credential, validate=True).decode()
    except (binascii.Error, ValueError):
        return Refused("invalid_credentials", "not base64 of UTF-8 (RFC 7617 section 2)")
    # RFC 7617 section 2: the first colon ends the user name; the password may hold more of them.
    name, colon, password = text.partition(":")
    if not colon or not name:
        return Refused("invalid_credentials", "no user name with a colon behind it (RFC 7617 section 2)")
    if _CONTROL.search(text):
        return Refused("invalid_credentials", "a control character in the user name or the password")
    return _normal(name), password


def _normal(text: str) -> str:
    # Clients write an accent as one character or as two; RFC 8265 sections 3.4 and 4.2 take form C for both.
    return unicodedata.normalize("NFC", text)


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    data = _normal(password).encode()
    # OpenSSL refuses what needs more than it was allowed: twice the table is room enough for the rest.
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r + (1 << 20), dklen=_LENGTH)

"""Passwords as the configuration keeps them and as clients send them, at the least cost that is accepted."""

from __future__ import annotations

import base64
from hashlib import scrypt

_SALT = bytes(range(16))


def kept(password: str) -> str:
    """Return the hash of a password; a check of it takes a millisecond."""
    found = scrypt(password.encode(), salt=_SALT, n=1024, r=1, p=1, dklen=32)
    return f"scrypt:1024:1:1:{_SALT.hex()}:{found.hex()}"


def basic(name: str, password: str) -> str:
    """Write the header line of a user name and a password."""
    return f"Authorization: Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"

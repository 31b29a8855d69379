"""The proof that a server of HTTP/1.1 means WebSocket (RFC 6455 section 4): a key, and what only it makes of the key.

Clients over HTTP/2 send none (RFC 8441 section 5), so on their behalf the gateway asks, and checks.
"""

from __future__ import annotations

import os
from base64 import b64encode
from hashlib import sha1

# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = 16


def challenge() -> bytes:
    """Make a key to ask with."""
    return b64encode(os.urandom(_KEY))


def accept(key: bytes) -> bytes:
    """Return what a server answers to a key."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())

"""Which header fields anybody but the wire may write, and what may stand in one.

Law: framing and hop-by-hop fields belong to the wire; no value brings a control character into a head.
"""

from __future__ import annotations

import re
from typing import Literal

Direction = Literal["request", "response"]

# RFC 9110 section 5.6.2.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5, with the tab allowed.
CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ALIKE = bytes.maketrans(b"_.", b"--")
# RFC 9110 section 7.6.1, and what RFC 9112 section 6 frames with.
_OF_THE_WIRE = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def read_as(name: bytes) -> bytes:
    """Return the one spelling that stands for all which a server may take for the same field.

    CGI (RFC 3875 section 4.1.18) and its heirs know X-User and X_User by one name, and PHP X.User, too.
    """
    return name.lower().translate(_ALIKE)


def field_name_objection(name: str, direction: Direction) -> str | None:
    """Say why a field of that name cannot be edited, None if it can."""
    if not TOKEN.fullmatch(name):
        return f"{name!r} is not the name of a header field"
    if name.lower() in _OF_THE_WIRE:
        return f"{name} frames the message or belongs to one connection; the gateway writes it itself"
    if direction == "request" and name.lower() == "host":
        return "the upstream's Host is set by rewrite.host (a name, or preserve)"
    return None

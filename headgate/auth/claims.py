"""What a token or a key says of its holder, found by name and read as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim of that name, None when it is absent; a.b is b inside a, unless a claim itself is called a.b."""
    found = claims.get(name)
    if found is not None or "." not in name:
        return found
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def text_of(value: Any) -> str:
    """Return a claim as text: words as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def words(value: Any) -> tuple[str, ...]:
    """Return a claim that may be a list as one text for each of its items."""
    if value is None:
        return ()
    return tuple(map(text_of, value)) if isinstance(value, list | tuple) else (text_of(value),)

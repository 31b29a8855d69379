"""Callers with credentials that a configuration knows by itself: static API keys, and tokens signed with a secret."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

import jwt

SECRET = "a secret of the tests, long enough for HS256"
TOKENS = {"secret": SECRET, "audience": [], "algorithms": ["HS256"]}


def static(name: str, **more: Any) -> dict[str, Any]:
    """Write a static key into a configuration."""
    return {"id": name, "hash": "sha256:" + sha256(_key(name).encode()).hexdigest(), **more}


def with_key(name: str) -> str:
    """Write the field that shows the key of this name."""
    return f"X-API-Key: {_key(name)}"


def with_token(**claims: Any) -> str:
    """Write the field that shows a token with these claims, good for an hour."""
    made = jwt.encode({"sub": "ada", "exp": int(time.time()) + 3600, **claims}, SECRET, "HS256")
    return f"Authorization: Bearer {made}"


def keys(*each: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Write an `identity` of static keys, and of tokens."""
    return {"api_keys": {"database": False, "static": list(each)}, "jwt": TOKENS, **more}


def _key(name: str) -> str:
    return f"hg_test_key_of_{name}_which_nobody_else_has"

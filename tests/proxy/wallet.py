"""Credentials of all kinds, right and wrong, for clients that act at random; and what must come of each."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from random import Random
from typing import Any, NamedTuple

import jwt

from headgate.auth.api_key import static_hash
from headgate.auth.basic import hash_password
from tests.proxy.peers import Wire, ok

_SECRET = "a secret of thirty-two bytes, or so"
_KEYS = {"key-1": ("hg_first-key-of-the-wallet-0123", "acme"), "key-2": ("hg_second-key-of-the-wallet-456", "globex")}
_PASSWORD = "open sesame"
_OPAQUE = "opaque-good-"
# Made once: a hash takes a fifth of a second.
_HASH = hash_password(_PASSWORD, b"salt" * 4)


class Shown(NamedTuple):
    """A credential: the lines that show it, and the caller and tenant it stands for; caller None: nobody, refused."""

    lines: tuple[str, ...]
    caller: str | None
    tenant: str = ""


def wallet() -> list[Shown]:
    """Make some of each kind."""
    nobody = Shown((), "")
    return [
        *[nobody] * 4,
        *(_bearer(_token(sub, tenant=tenant), sub, tenant) for sub, tenant in (("ada", "acme"), ("bob", "globex"))),
        Shown((f"Cookie: a=b; session={_token('cy')}",), "cy"),
        *(Shown((f"X-API-Key: {key}",), id_, tenant) for id_, (key, tenant) in _KEYS.items()),
        _bearer(_KEYS["key-1"][0], "key-1", "acme"),
        _basic(_PASSWORD, "dora"),
        _bearer(f"{_OPAQUE}eve", "eve"),
        _bearer(f"{_OPAQUE}finn", "finn"),
        # And what is refused: expired, forged, malformed, unknown, of a tenant that is shut out.
        _bearer(_token("ada", exp=time.time() - 600), None),
        _bearer(_token("ada", key="another secret, as long as the other"), None),
        _bearer(_token("gil", tenant="shut"), None),
        _bearer("no.token.at-all", None),
        _bearer("opaque-bad", None),
        _basic("guessed", None),
        Shown(("X-API-Key: hg_unknown",), None),
        Shown(("Authorization: Digest x",), None),
        # A right one behind a wrong one does not help.
        Shown((f"Authorization: Bearer {_token('ada', exp=1)}", f"X-API-Key: {_KEYS['key-1'][0]}"), None),
    ]


def _token(sub: str, key: str = _SECRET, **claims: Any) -> str:
    return jwt.encode({"sub": sub, "exp": time.time() + 600, **claims}, key, "HS256")


def _bearer(credential: str, caller: str | None, tenant: str = "") -> Shown:
    return Shown((f"Authorization: Bearer {credential}",), caller, tenant)


def _basic(password: str, caller: str | None) -> Shown:
    return Shown((f"Authorization: Basic {b64encode(f'dora:{password}'.encode()).decode()}",), caller)


def identity(introspector: str, **more: Any) -> dict[str, Any]:
    """Write the settings by which the wallet's credentials are judged."""
    static = [{"id": id_, "hash": static_hash(key.encode()), "tenant": tenant} for id_, (key, tenant) in _KEYS.items()]
    return {
        "jwt": {"name": "own", "secret": _SECRET, "sources": ["header:Authorization", "cookie:session"]},
        "introspection": {"url": f"{introspector}/introspect", "prefix": "opaque-", "timeout": 0.2, "cache": 0.1},
        "api_keys": {"database": False, "static": static},
        "basic": {"users": [{"name": "dora", "hash": _HASH}]},
        "forward": {"X-Caller": "id", "X-Tenant": "tenant"},
        "tenants": [{"name": "acme", "tier": "premium"}, {"name": "shut", "enabled": False}],
        **more,
    }


async def introspect(link: Wire, random: Random) -> None:
    """Play the server that knows opaque tokens: mostly it answers, late, with garbage, or not at all."""
    while True:
        asked = (await link.message()).body.decode()
        turn = random.random()
        good = f"token={_OPAQUE}" in asked
        sub = asked.partition(_OPAQUE)[2].partition("&")[0]
        answer = f'{{"active": true, "sub": "{sub}"}}' if good else '{"active": false}'
        if turn < 0.08:
            await link.send(ok(b"<html>", status=random.choice((200, 500))))
        elif turn < 0.14:
            link.cut()
            return
        else:
            await asyncio.sleep(random.random() * (0.3 if turn < 0.2 else 0.02))
            await link.send(ok(answer.encode(), "Content-Type: application/json"))

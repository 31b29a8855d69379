"""Who asks in the soak: callers with credentials of every kind, right and wrong, and the settings that know them.

Of each request the upstream is told who asks, and says it back (bench.upstream): an answer is good if it is for this
very caller. A wrong credential must end in its own refusal. Every request brings a forged name along, too.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.engine import make_url

from bench.client import HOST, Ask
from headgate.control.keys.key_store import KeyStore, NewKey, open_store

ROLE = "reader"
PREFIX = "soak_"
# Between the right and the wrong: one in six is refused.
_WRONG = 1 / 6
_TOKENS, _KEYS, _USERS, _FEW = 1000, 100, 3, 8
_SECRET = "a secret of the soak of more than thirty-two bytes"
_PEPPER = "the pepper of the soak"
_ISSUER, _AUDIENCE = "https://issuer.example", "soak"
_HOUR = 3600
_ORIGIN = "https://app.soak.example"
_OWN_FIELDS = f"X-Soak-Caller: forged\r\nOrigin: {_ORIGIN}\r\n"
# What must be in every answer with such an Origin.
_FIELDS = (("access-control-allow-origin", _ORIGIN), ("x-content-type-options", "nosniff"))
_SIGNER = {
    "module": "examples.plugins.tenant_signer",
    "class": "TenantSigner",
    "config": {"secret": "sixteen bytes, or more", "required": False},
}


class Shown(NamedTuple):
    """A credential: the header field that shows it, and who must be known by it, or why nobody is."""

    field: str
    caller: str = ""
    status: int = 200
    reason: str = ""


class Wallet:
    """Credentials, and the gateway's settings that know them; its database of keys lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._signer = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        self._public = folder / "signer.pem"
        self._public.write_bytes(self._signer.public_key().public_bytes(serialization.Encoding.PEM, form))
        (folder / "state").mkdir(mode=0o700)
        self._url = f"sqlite:///{folder / 'state' / 'keys.db'}"
        self._users = [f"user-{number}" for number in range(_USERS)]
        self._keys = self._made_keys()
        # By kind: each of them is shown as often as any other.
        self._right = [self._tokens(), self._keys, [basic(user, user, caller=user) for user in self._users]]
        self._wrong = self._refused()

    # -- what requests show ----------------------------------------------------------------------------------------

    def good(self, ask: Ask) -> Ask:
        """Let a request show a credential that is right."""
        return dressed(ask, random.choice(random.choice(self._right)))

    def few(self, ask: Ask) -> Ask:
        """Let a request show one of few credentials that are right, or now and then one that is not."""
        right = random.random() >= _WRONG
        return dressed(ask, random.choice(self._right[0][:_FEW] if right else random.choice(self._wrong)))

    def keyed(self, ask: Ask) -> Ask:
        """Let a request show a key of the database."""
        return dressed(ask, random.choice(self._keys))

    def mixed(self, ask: Ask) -> Ask:
        """Let a request show a credential that is right, or now and then one that is not."""
        return dressed(ask, random.choice(random.choice(self._wrong if random.random() < _WRONG else self._right)))

    def _tokens(self) -> list[Shown]:
        signed = [self.token(f"caller-{number}") for number in range(_TOKENS)]
        for number in range(_TOKENS // 10):
            name = f"signed-{number}"
            signed.append(bearer(jwt.encode(_claims(name, iss="https://signer.example"), self._signer, "ES256"), name))
        return signed

    def token(self, caller: str, **claims: object) -> Shown:
        """Make a signed token of this caller, which is right unless the claims say otherwise."""
        return bearer(jwt.encode(_claims(caller, **claims), _SECRET, "HS256"), caller)

    def _made_keys(self) -> list[Shown]:
        store = self.store()
        made = [store.create(NewKey(tenant="acme", roles=(ROLE,)), PREFIX) for _ in range(_KEYS)]
        store.close()
        return [Shown(f"X-API-Key: {each.key}", each.stored.id) for each in made]

    def _refused(self) -> list[list[Shown]]:
        wrong = jwt.encode(_claims("ann"), "another secret, just as long as the first one", "HS256")
        tokens = [wrong, wrong[:-3], "no.token.at-all", "e30.e30.", "x" * 7000]
        forbidden = [self.token("ann", roles=["writer"]), self.token("ann", tenant="shut")]
        return [
            [refused(f"Authorization: Bearer {token}", "invalid_token") for token in tokens],
            [refused(self.token("ann", exp=number).field, "expired_token") for number in range(100)],
            [refused(f"X-API-Key: {PREFIX}{os.urandom(24).hex()}", "invalid_api_key") for _ in range(100)],
            [refused("X-API-Key: no key at all", "invalid_api_key")],
            [basic(user, "guessed") for user in self._users],
            [refused("Authorization: Basic no-base64!", "invalid_credentials")],
            [refused("X-Soak-Nothing: at all", "missing_credentials")],
            [Shown(each.field, status=403, reason="forbidden") for each in forbidden],
            [Shown(f"{self.token('ann').field}\r\nX-Tenant: globex", status=403, reason="tenant_forbidden")],
        ]

    # -- what knows them -------------------------------------------------------------------------------------------

    def store(self) -> KeyStore:
        """Open the database of keys."""
        return open_store(make_url(self._url), _PEPPER.encode())

    def identity(self) -> dict[str, Any]:
        """Write who is known."""
        own = {"name": "own", "issuer": _ISSUER, "audience": _AUDIENCE, "secret": _SECRET}
        signer = {"name": "signer", "issuer": "https://signer.example", "audience": _AUDIENCE}
        users = [{"name": user, "hash": cheap_hash(user), "roles": [ROLE]} for user in self._users]
        return {
            "jwt": [own, {**signer, "public_key": str(self._public), "algorithms": ["ES256"]}],
            "api_keys": {"prefix": PREFIX, "pepper": _PEPPER},
            "basic": {"users": users},
            "hide_credentials": True,
            "forward": {"X-Soak-Caller": "id"},
            "tenant": {"header": "X-Tenant"},
            "tenants": [{"name": "acme", "tier": "premium"}, {"name": "shut", "enabled": False}],
            "permissions": {ROLE: ["things:*"]},
        }

    def settings(self) -> dict[str, Any]:
        """Write what the gateway has at its top level: who asks, what they may, and all that goes with it."""
        tiers = {"premium": 55_000_000}
        return {
            "state_dir": str(self.folder / "state"),
            "database": {"url": self._url, "poll": 0.5},
            "identity": self.identity(),
            "auth": {"roles": [ROLE], "permissions": ["things:read"]},
            "limits": [{"name": "callers", "key": "identity", "requests": 50_000_000, "tiers": tiers}],
            "cors": {"origins": ["https://*.soak.example"], "credentials": True},
            "security_headers": "api",
            "header_filter": {"request": {"deny": ["X-Internal"]}, "response": {"deny": ["X-Powered-By"]}},
            "trusted_hosts": ["soak"],
            "plugins": [_SIGNER],
            "telemetry": {
                "access_log": {"path": os.devnull},
                "audit": {"enabled": True, "path": os.devnull},
            },
        }


def dressed(ask: Ask, shown: Shown) -> Ask:
    """Let a request show this credential, and expect what must come of it."""
    data = ask.data.replace(HOST, HOST + f"{shown.field}\r\n{_OWN_FIELDS}".encode(), 1)
    if ask.public or ask.status != 200 or shown.status == 200:
        return replace(ask, data=data, caller=shown.caller, fields=_FIELDS)
    return replace(ask, data=data, status=shown.status, received=None, reason=shown.reason, fields=_FIELDS)


def bearer(token: str, caller: str) -> Shown:
    """Show a token that is right."""
    return Shown(f"Authorization: Bearer {token}", caller)


def basic(user: str, password: str, caller: str = "") -> Shown:
    """Show a user name and a password, which are wrong unless a `caller` is known by them."""
    field = f"Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
    return Shown(field, caller) if caller else refused(field, "invalid_credentials")


def refused(field: str, reason: str) -> Shown:
    """Show what must be refused with 401."""
    return Shown(field, status=401, reason=reason)


def cheap_hash(password: str) -> str:
    """Return a hash of the lowest cost that the gateway takes: what a password costs is another check's affair."""
    n, r, p, salt = 1024, 1, 1, b"salt" * 4
    made = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, dklen=32)
    return f"scrypt:{n}:{r}:{p}:{salt.hex()}:{made.hex()}"


_serial = itertools.count()


def _claims(caller: str, **more: object) -> dict[str, object]:
    claims: dict[str, object] = {"sub": caller, "tenant": "acme", "roles": [ROLE], "jti": str(next(_serial))}
    return {**claims, "iss": _ISSUER, "aud": _AUDIENCE, "exp": int(time.time()) + 3 * _HOUR, **more}

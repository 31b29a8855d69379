"""An issuer that a test tells what to publish and what to say: discovery document, key set, signed tokens."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.control.http_server import HttpServer, QuietHandler

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"


class SigningKey:
    """A key pair with a name."""

    def __init__(self, kid: str | None, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any = ec.generate_private_key(ec.SECP256R1())
        if algorithm.startswith(("RS", "PS")):
            self.private = rsa.generate_private_key(65537, 2048)

    def public(self) -> dict[str, Any]:
        """Return the public key as a JWK."""
        made: Any = jwt.get_algorithm_by_name(self.algorithm)
        jwk: dict[str, Any] = made.to_jwk(self.private.public_key(), as_dict=True)
        jwk.pop("key_ops", None)
        named = {} if self.kid is None else {"kid": self.kid}
        return {**jwk, **named, "use": "sig", "alg": self.algorithm}

    def sign(self, **claims: Any) -> str:
        """Return a token that is good for an hour unless the claims say otherwise."""
        headers = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode({"exp": time.time() + 3600, **claims}, self.private, self.algorithm, headers)


class ScriptedIssuer:
    """A server on loopback. `answers` say what a path gets in place of what it would get, as whole messages.

    `hold` makes it silent while it is not set; `asked` are the paths that were asked for.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        outer = self
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.keys: list[SigningKey] = []
        self.document: dict[str, Any] = {}

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                outer.hold.wait(60)
                with suppress(OSError):
                    self.wfile.write(outer.answer(self.path))
                self.close_connection = True

        self._server = HttpServer(Handler, tls)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._server.port}"

    def answer(self, path: str) -> bytes:
        """Return what this path gets."""
        if path in self.answers:
            return self.answers[path]
        if path == DISCOVERY:
            return said({"issuer": self.url, "jwks_uri": self.url + KEYS, **self.document})
        if path == KEYS:
            return said({"keys": [key.public() for key in self.keys]})
        return said({}, 404)

    def close(self) -> None:
        """Stop."""
        self.hold.set()
        self._server.close()


def said(document: Any, status: int = 200, *lines: str) -> bytes:
    """Write an answer with a document; `lines` are further fields."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode() + body


@contextmanager
def scripted_issuer(tls: ssl.SSLContext | None = None) -> Iterator[ScriptedIssuer]:
    """Run one."""
    issuer = ScriptedIssuer(tls)
    try:
        yield issuer
    finally:
        issuer.close()

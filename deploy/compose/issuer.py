"""An OpenID Connect issuer for trying things out: whoever asks gets a token for whom he says he is. Never expose it.

    python issuer.py HOST:PORT URL      the URL is what tokens say as their issuer

    GET  /.well-known/openid-configuration
    GET  /jwks.json
    POST /token      a form: sub, roles (blanks between), email, client_id; anything else is ignored
    GET  /health

The key is made at the start, so tokens of an earlier start are no longer good. It runs in the gateway's own image, for
the compose files.
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_KID = f"key-{int(time.time())}"
_LIFETIME = 3600
_LARGEST_BODY = 65_536


class Issuer(ThreadingHTTPServer):
    """The server, and the URL it is known by."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], url: str) -> None:
        super().__init__(address, _Handler)
        self.url = url


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        url = self.server.url
        match self.path:
            case "/.well-known/openid-configuration":
                self._answer(200, {"issuer": url, "jwks_uri": f"{url}/jwks.json", "token_endpoint": f"{url}/token"})
            case "/jwks.json":
                public = RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True)
                self._answer(200, {"keys": [{**public, "kid": _KID, "use": "sig", "alg": "RS256"}]})
            case "/health":
                self._answer(200, {"status": "healthy"})
            case _:
                self._answer(404, {"error": "not_found"})

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), _LARGEST_BODY)
        form = {name: values[-1] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        if self.path != "/token":
            self._answer(404, {"error": "not_found"})
            return
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.server.url,
            "sub": form.get("sub", "developer"),
            "aud": form.get("client_id", "ai-gateway"),
            "roles": form.get("roles", "").split(),
            "iat": now,
            "exp": now + _LIFETIME,
        }
        if "email" in form:
            claims["email"] = form["email"]
        token = jwt.encode(claims, _KEY, algorithm="RS256", headers={"kid": _KID})
        self._answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": _LIFETIME})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    Issuer((host, int(port)), sys.argv[2]).serve_forever()

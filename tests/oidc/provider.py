"""A real OpenID provider under a test's hands: started, killed, given another key; and the login of a user there."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.control.driver import CEILING, free_port, until

ROOT = Path(__file__).parents[2]
USER, PASSWORD, ROLE, TENANT = "ann", "correct horse", "staff", "acme"
CLIENT, CLIENT_SECRET = "app", "the secret of the app"
CALLBACK = "http://127.0.0.1/callback"
DATABASE = "provider.sqlite3"
DISCOVERY = "/.well-known/openid-configuration"


class Tokens(NamedTuple):
    """What a login gives: a signed token that says who the user is, and an opaque one."""

    id_token: str
    access_token: str


class Provider:
    """The provider as a process of its own. Its database lives in `folder` and outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}/o"
        self._process: subprocess.Popen[bytes] | None = None
        self.make_key()
        self.start()

    def make_key(self) -> None:
        """Make another key, which is used from the next start on."""
        key = rsa.generate_private_key(65537, 2048)
        (self._folder / "key.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )

    def start(self) -> None:
        """Start unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        command = [sys.executable, "-m", "tests.oidc.django_provider", str(self._folder), str(self.port)]
        with (self._folder / "stderr").open("ab") as errors:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, cwd=ROOT)
        try:
            until(self._answers, "the provider answers")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(CEILING)
            self._process = None

    def rotate(self) -> None:
        """Come back with another key, and with no other."""
        self.kill()
        self.make_key()
        self.start()

    def log_in(self) -> Tokens:
        """Log the user in as a browser and the client together do: authorization code with PKCE (RFC 7636)."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe()
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": CALLBACK,
            "scope": "openid read",
            "state": state,
            "nonce": secrets.token_urlsafe(),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        with httpx.Client(base_url=self.issuer, trust_env=False, timeout=CEILING) as browser:
            login = browser.get("/authorize/", params=asked).next_request
            assert login is not None
            form = browser.send(login)
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
            assert token is not None, form.text
            filled = {"csrfmiddlewaretoken": token[1], "username": USER, "password": PASSWORD}
            back = browser.post(str(form.url), data=filled).next_request
            assert back is not None
            callback = browser.send(back).headers["location"]
            returned = {name: values[0] for name, values in parse_qs(urlsplit(callback).query).items()}
            assert callback.startswith(CALLBACK) and returned["state"] == state
            answer = browser.post(
                "/token/",
                auth=(CLIENT, CLIENT_SECRET),
                data={
                    "grant_type": "authorization_code",
                    "code": returned["code"],
                    "redirect_uri": CALLBACK,
                    "code_verifier": verifier,
                },
            ).json()
        return Tokens(answer["id_token"], answer["access_token"])

    def revoke(self, token: str) -> None:
        """End an opaque token (RFC 7009)."""
        said = httpx.post(
            f"{self.issuer}/revoke_token/", auth=(CLIENT, CLIENT_SECRET), data={"token": token}, timeout=CEILING
        )
        assert said.status_code == 200

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self._folder / "stderr").read_text()
        try:
            return httpx.get(self.issuer + DISCOVERY, trust_env=False, timeout=CEILING).status_code == 200
        except httpx.HTTPError:
            return False

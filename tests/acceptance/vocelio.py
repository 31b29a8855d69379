"""What the tests of the preset `vocelio` share: its services, a gateway before stubs of all of them, callers."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.preset import preset_source, preset_text
from headgate.config.resolve import ResolvedConfig
from tests.acceptance.gateway import Document, Gateway
from tests.acceptance.stub import Stub

SECRET = "dev-secret"
PRESET = "vocelio"

# In the order of the description's table, which is that of their ports from 8001 on.
SERVICES = (
    *("overview", "ai-agents", "smart-campaigns", "call-center", "voice-lab", "analytics", "billing"),
    *("integrations", "marketplace", "lead-qualification", "appointment-booking", "inbound-calls"),
    *("outbound-calls", "knowledge-base", "team-management", "workflows", "developer-api", "webhooks"),
)

SEVEN = ["error", "message", "status_code", "timestamp", "request_id", "retry_after", "support"]


def variable(service: str) -> str:
    """Return the variable that says where a service is."""
    return f"{service.upper().replace('-', '_')}_SERVICE_URL"


def token(secret: str = SECRET, *, expires: float = 3600, **claims: Any) -> str:
    """Make a token of a user of an organisation, by hand: a library would refuse so short a secret."""
    now = int(time.time())
    whole = {"user_id": "u1", "org_id": "acme", "iat": now, "exp": now + int(expires), **claims}
    parts = b".".join(
        map(_encoded, ({"alg": "HS256", "typ": "JWT"}, {k: v for k, v in whole.items() if v is not None}))
    )
    signature = urlsafe_b64encode(hmac.digest(secret.encode(), parts, "sha256")).rstrip(b"=")
    return (parts + b"." + signature).decode()


def _encoded(part: Mapping[str, Any]) -> bytes:
    return urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


class Running:
    """A gateway of the preset and the stubs behind it, by the names of their services."""

    def __init__(self, gateway: Gateway, stubs: Mapping[str, Stub]) -> None:
        self.gateway = gateway
        self.stubs = stubs

    def forget(self) -> None:
        for stub in self.stubs.values():
            stub.forget()


@contextmanager
def running(
    folder: Path, *files: Document, env: Mapping[str, str] = {}, only: tuple[str, ...] = SERVICES, **more: Any
) -> Iterator[Running]:
    """Run the preset before stubs of some services; the others are where nobody listens."""
    with ExitStack() as stack:
        stubs = {name: stack.enter_context(Stub(name)) for name in only}
        urls = {variable(name): stubs[name].url if name in stubs else "http://127.0.0.1:1" for name in SERVICES}
        more.setdefault("options", ("--workers", "1"))
        whole = {"JWT_SECRET_KEY": SECRET, "HOST": "127.0.0.1", **urls, **env}
        gateway = stack.enter_context(Gateway(folder, PRESET, *files, env=whole, **more))
        yield Running(gateway, stubs)


def resolved(**env: str) -> ResolvedConfig:
    """Return what the preset alone comes to under this environment."""
    return _resolved(tuple(sorted(env.items())))


@cache
def _resolved(env: tuple[tuple[str, str], ...]) -> ResolvedConfig:
    layer = Layer(preset_source(PRESET), preset_text(PRESET), own=False)
    found = load([], environ={"JWT_SECRET_KEY": SECRET, **dict(env)}, layers=[layer])
    assert found.config is not None, found.problems
    return found.config


def problems(**env: str) -> list[str]:
    """Return what is wrong with the preset under this environment, which has nothing else in it."""
    layer = Layer(preset_source(PRESET), preset_text(PRESET), own=False)
    return [each.message for each in load([], environ=env, layers=[layer]).problems]

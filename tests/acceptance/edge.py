"""What the tests of the preset ai-edge share: its environment, tokens, and what all its errors look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.gateway import Answer, Document, Gateway, mint
from tests.acceptance.stub import Stub
from tests.stores.redis.servers import RedisServer

PRESET = "ai-edge"
SECRET = "0123456789abcdef" * 4
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
# Nothing waits for load balancers that are not there.
AT_ONCE = ("--set", "shutdown.grace=0", "--set", "workers=2")
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "content-security-policy": "default-src 'self'",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "geolocation=(), microphone=(), camera=()",
}


def edge(
    folder: Path,
    redis: RedisServer | None,
    *files: Document,
    env: Mapping[str, str] = {},
    options: tuple[str, ...] = AT_ONCE,
    ready: bool = True,
) -> Gateway:
    """Run the preset, with tokens signed by SECRET unless the environment says otherwise."""
    # Redis is not given up because this machine is slow.
    patience = {"REDIS_READ_TIMEOUT": "10s", "REDIS_DIAL_TIMEOUT": "60s"}
    patient = {"REDIS_URL": redis.url, **patience} if redis is not None else {}
    known = {"JWT_SECRET": SECRET} | patient
    environ = known | dict(env)
    return Gateway(folder, PRESET, *files, env=environ, port_variable="SERVER_PORT", options=options, ready=ready)


def upstreams(name: str, *stubs: Stub) -> dict[str, str]:
    """Return the variable that says where a service runs."""
    return {f"UPSTREAM_{name.upper()}_URLS": ",".join(stub.url for stub in stubs)}


def token(user: str = "ada", **claims: Any) -> str:
    return mint(SECRET, user_id=user, **claims)


def refused(answer: Answer, status: int, title: str, message: str | None = None) -> Answer:
    """See one of the gateway's own errors: four fields, all of them there, and the security headers."""
    assert answer.status == status, answer
    assert list(answer.json) == ["error", "message", "code", "timestamp"]
    assert (answer.json["error"], answer.json["code"]) == (title, status)
    assert MOMENT.fullmatch(answer.json["timestamp"])
    assert answer.json["message"]
    assert message is None or answer.json["message"] == message
    assert answer.headers["content-type"] == "application/json"
    secure(answer)
    return answer


def secure(answer: Answer) -> None:
    assert SECURITY.items() <= answer.headers.items(), answer.headers

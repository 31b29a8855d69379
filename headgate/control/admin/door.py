"""What holds for every request to the admin listener, before any route: its Host, its size, the audit log, and the
headers of its answer.

Laws: an answer is no other page's to read, to frame or to keep; whatever is more than reading is written down, those
too who were not let, unless a route says that it is routine; a body is never larger than MOST_BODY, for it is read
before it is known who sends it. A whole configuration is read after that, and may have MOST_CONFIGURATION.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.control.admin.access import READING, actor_of
from headgate.control.admin.answers import problem
from headgate.control.admin.subject import Subject

MOST_BODY: Final = 256 * 1024
MOST_CONFIGURATION: Final = 16 * 1024 * 1024
_CONFIGURATION: Final = "/api/v1/config"
_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
# RFC 9110 section 7.2, RFC 3986 section 3.2: never with user information before an @.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{0,5})?")
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Door:
    """The application behind it, as ASGI 3.0."""

    def __init__(self, app: ASGIApp, subject: Subject) -> None:
        self._app = app
        self._subject = subject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What routes and access note in it is read when the answer begins.
        scope.setdefault("state", {})
        request = Request(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                self._write_down(request, message["status"])
            await send(message)

        most = MOST_CONFIGURATION if scope["path"] == _CONFIGURATION else MOST_BODY
        refusal = None
        host = _host(request)
        if host is None or not self._subject.parts.operators.is_asked_as(host):
            refusal = problem(421, "the Host is no name of this listener; admin.hosts takes further ones")
        elif _announced(request) > most:
            refusal = problem(413, f"a body has at most {most} bytes")
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        await self._app(scope, _Body(receive, most).receive, answer)

    def _write_down(self, request: Request, status: int) -> None:
        routine = status < 400 and getattr(request.state, "is_routine", False)
        if request.method in READING or routine:
            return
        outcome: Literal["done", "refused", "failed"] = "failed"
        if status < 400:
            outcome = "done"
        elif status in (401, 403, 421, 429):
            outcome = "refused"
        target, detail = getattr(request.state, "target", {}), getattr(request.state, "detail", "")
        action = f"{request.method} {request.scope['path']}"
        self._subject.audit("admin.request", actor_of(request), action, outcome, target, detail, status)


class _Body:
    """What comes of a body, counted."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._come = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._come += len(message.get("body", b""))
        if self._come > self._most:
            # The kind of exception that FastAPI lets through while it reads a body.
            raise HTTPException(413)
        return message


def _host(request: Request) -> str | None:
    """Return the name in Host without its port, empty where there is no Host; None for whatever is none."""
    said = request.headers.getlist("host")
    found = _HOST.fullmatch(said[0]) if len(said) == 1 else None
    return found[1] if found is not None else None if said else ""


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0

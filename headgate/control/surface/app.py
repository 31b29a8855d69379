"""The application behind the workers: it answers for own endpoints on a Unix socket of the runtime folder.

Law: who reaches this socket was let in by a worker; it is nobody's but this user's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from headgate.control.surface.answers import Answers, Asked

_Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    """The ASGI application."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def __call__(self, scope: dict[str, Any], _receive: object, send: _Send) -> None:
        """Answer one request; its body, if it has one, says nothing."""
        fields: dict[bytes, bytes] = dict(scope["headers"])
        asked = Asked(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            fields.get(b"accept", b"").decode("latin-1"),
            fields.get(b"x-headgate-caller", b"").decode("latin-1"),
        )
        given = await self._answers.answer(asked)
        headers = [("Content-Type", given.content_type), ("Cache-Control", "no-store"), *given.fields]
        raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(given.body)))
        await send({"type": "http.response.start", "status": given.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else given.body})

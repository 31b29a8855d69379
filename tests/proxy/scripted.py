"""Plugins that a test writes in place: `plugged` registers hooks under a name and returns the entry that asks them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headgate.plugin import Plugin, Request, Response

Hook = Callable[..., Any]

SCRIPTS: dict[str, tuple[Hook | None, Hook | None]] = {}
MADE: list[Plugin] = []


class Scripted(Plugin):
    """Calls the hooks of a test; `fails_after` is how many of them may be made."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if len(MADE) >= config.get("fails_after", 1000):
            raise ValueError("one too many")
        MADE.append(self)
        self.needs_body = config.get("needs_body", 0)
        self.body_overflow = config.get("body_overflow", "refuse")
        self._request, self._response = SCRIPTS[config["script"]]

    def on_request(self, request: Request) -> Any:
        return self._request(request) if self._request is not None else None

    def on_response(self, request: Request, response: Response) -> Any:
        return self._response(request, response) if self._response is not None else None


def plugged(
    on_request: Hook | None = None,
    on_response: Hook | None = None,
    *,
    name: str = "mine",
    on_error: str = "closed",
    **config: Any,
) -> dict[str, Any]:
    """Return the entry of a plugin with these hooks."""
    SCRIPTS[name] = (on_request, on_response)
    return {
        "name": name,
        "module": "tests.proxy.scripted",
        "class": "Scripted",
        "on_error": on_error,
        "config": {"script": name, **config},
    }

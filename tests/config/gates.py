"""Plugins that the configurations of these tests name, good ones and bad ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headgate.plugin import Bytes, Plugin, Request


class Plain(Plugin):
    """Takes anything."""

    def on_request(self, request: Request) -> None:
        return None


class Typed(Plain):
    """Says what it takes."""

    @dataclass
    class Config:
        """Some keys."""

        secret: str
        most: Bytes = 10
        paths: tuple[str, ...] = ()


class Picky(Plain):
    """Refuses what it is given."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        if "colour" in config:
            raise ValueError("no colours here")
        if "crash" in config:
            raise RuntimeError(config["crash"])


class Hookless(Plugin):
    """Forgot what it is for."""


class Waiting(Plugin):
    """Would have to be awaited."""

    async def on_request(self, request: Request) -> None:  # type: ignore[override]
        return None

"""Refuse prompts that are too large before a model is paid for reading them.

Reads the bodies of OpenAI's, Anthropic's and similar APIs: `prompt`, `input`, `system`, `instructions`, and the
`content` of `messages`, as text or as lists of parts with `text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from headgate.plugin import Bytes, Deny, Pass, Plugin, Request, Response, Verdict, setting, settings

_TEXTS = ("prompt", "input", "system", "instructions")
_DEEPEST = 8


class PromptGate(Plugin):
    """Count the characters of what a model is asked; the answer tells how many there may be."""

    @settings
    class Config:
        """What an entry says."""

        max_characters: int = setting(default=20_000, help="Characters of a prompt.", ge=1)
        max_messages: int = setting(default=200, help="Messages of a conversation.", ge=1)
        max_body: Bytes = setting(default=262_144, help="Bytes that are read; larger bodies get 413.", ge=1)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.needs_body = config.max_body
        self._told = Pass(set_headers={"X-Prompt-Limit": str(config.max_characters)})

    def on_request(self, request: Request) -> Verdict | None:
        """Judge the body of a POST; every other request passes."""
        if request.method != "POST":
            return None
        try:
            document = _read(request.body or b"")
        except (ValueError, RecursionError):
            return Deny(400, "The body must be one JSON object.", "no JSON object")
        messages = document.get("messages")
        if isinstance(messages, list) and len(messages) > self.config.max_messages:
            return Deny(413, f"A conversation may have at most {self.config.max_messages} messages.", "messages")
        asked = (document.get(key) for key in (*_TEXTS, "messages"))
        characters = sum(len(text) for each in asked for text in _texts(each, _DEEPEST))
        if characters > self.config.max_characters:
            message = f"The prompt has {characters} characters; at most {self.config.max_characters} are allowed."
            return Deny(413, message, f"{characters} characters")
        return None

    def on_response(self, request: Request, response: Response) -> Pass | None:
        """Tell what is allowed."""
        return self._told


def _read(body: bytes) -> dict[str, Any]:
    """Read a JSON object that every reader takes for the same: no key stands twice, no number is NaN."""
    document = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refused)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice")
    return made


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Yield the texts in what stands where text is expected; what is deeper than any API has it is not looked for."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth:
        for each in value:
            yield from _texts(each, depth - 1)
    elif isinstance(value, dict) and depth:
        for key in ("text", "content", "input"):
            yield from _texts(value.get(key), depth - 1)

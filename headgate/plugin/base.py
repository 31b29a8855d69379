"""What a plugin is."""

from __future__ import annotations

from typing import Any, Literal

from headgate.plugin.records import Request, Response
from headgate.plugin.verdicts import Pass, Verdict

Overflow = Literal["refuse", "none"]


class Plugin:
    """A class with hooks. Derive from it and write one hook or both.

    Each worker makes one of it for each entry in the configuration, anew with each plan in which the entry changed; it
    serves one request at a time. Hooks are plain functions and must be quick: while one runs, its worker serves nobody
    else. An exception is answered as the entry's `on_error` says.

    A nested dataclass `Config` says what `config` may hold: it is then checked by `headgate check`, unknown keys and
    wrong types at their place in the file, and given as an object of it. Without one, `config` is a plain dict.
    """

    # Bytes of the request's body that are gathered before on_request is called; 0: none is.
    needs_body: int = 0
    # What becomes of a body larger than that: "refuse" answers 413, "none" calls the hook with None for a body.
    body_overflow: Overflow = "refuse"

    def __init__(self, config: Any) -> None:
        """Take what stands in the configuration. Also called by `headgate check`: compute here, and open nothing.

        Raises:
            ValueError: with a sentence for the operator, when it is of no use.
        """
        self.config = config

    def on_request(self, request: Request) -> Verdict | None:
        """Judge a request, behind everything else that may refuse it; None lets it pass."""
        return None

    def on_response(self, request: Request, response: Response) -> Pass | None:
        """Edit the head of an answer; `request` is as the last plugin has left it, without its body."""
        return None

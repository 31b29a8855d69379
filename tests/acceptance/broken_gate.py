"""Plugins of the tests: a fault of the gateway's own, and a route that takes JSON objects only."""

from __future__ import annotations

import json

from headgate.plugin import Deny, Plugin, Request, Verdict


class Broken(Plugin):
    """Raise, whoever asks."""

    def on_request(self, request: Request) -> Verdict | None:
        """Fail."""
        raise RuntimeError("a fault that a test wants")


class Objects(Plugin):
    """Take JSON objects."""

    needs_body = 65_536

    def on_request(self, request: Request) -> Verdict | None:
        """Refuse what is none."""
        try:
            return None if isinstance(json.loads(request.body or b""), dict) else Deny(400, "The body is no object.")
        except ValueError:
            return Deny(400, "The body is no JSON.")

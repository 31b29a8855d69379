"""Write a part of the gateway yourself: a class with a hook for requests, one for answers, or both.

    from headgate.plugin import Deny, Pass, Plugin, Request, Verdict

    class NoBots(Plugin):
        def on_request(self, request: Request) -> Verdict | None:
            return Deny(reason="a bot") if "bot" in (request.headers.get("User-Agent") or "") else None

What hooks are given is plain, what they return is a verdict as our own gates have it; `headgate.plugin.testing` tests
them without a gateway. docs/plugins.md tells the rest. This is what plugins may import; all else may change.
"""

from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.settings import Bytes, Seconds, setting, settings
from headgate.plugin.base import Plugin
from headgate.plugin.records import Headers, Request, Response
from headgate.plugin.verdicts import Answer, Delay, Deny, Pass, Verdict

__all__ = [
    "ANONYMOUS",
    "Answer",
    "Bytes",
    "Delay",
    "Deny",
    "Headers",
    "Identity",
    "Pass",
    "Plugin",
    "Request",
    "Response",
    "Seconds",
    "Verdict",
    "setting",
    "settings",
]

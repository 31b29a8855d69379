"""A wait in the life of a request: for another try, or because a fault is injected.

Law: who leaves while a request waits ends the wait, and nothing of it stays behind in the event loop.
"""

from __future__ import annotations

import asyncio

from headgate.core.steps import Reply


async def pause(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Let `seconds` pass."""
    over: Reply[None] = Reply()
    timer = loop.call_later(seconds, over.set, None)
    try:
        await over
    finally:
        timer.cancel()

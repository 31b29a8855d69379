"""Runs async tests on the standard library's event loop, the one of the control process."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

_CEILING = 120.0
P = ParamSpec("P")


def on_plain_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test; a task that failed unseen fails the test, and whatever was cut is closed behind it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        faults: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
            try:
                async with asyncio.timeout(_CEILING):
                    await test(*args, **kwargs)
            finally:
                await _end()

        asyncio.run(watched())
        assert not faults, faults

    return run


async def _end() -> None:
    async with asyncio.timeout(_CEILING):
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)
    # What was aborted is closed in the next turns of the loop.
    for _ in range(3):
        await asyncio.sleep(0)

"""Where a fault of our own happened, without what was being worked on.

Law: places and types, never words. What an exception says may hold what a client sent or what is secret: the text that
could not be decoded, the key that was missing, the URL with its password. Of the operating system's errors the number
is told, which says the same whatever the data.
"""

from __future__ import annotations

import os
import traceback

_MOST = 8


def kind_of(error: BaseException) -> str:
    """Name an exception by its type, and by the operating system's word for it where it has one."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and isinstance(error.errno, int) and 0 < error.errno < 1000:
        return f"{name}: [Errno {error.errno}] {os.strerror(error.errno)}"
    return name


def places_of(error: BaseException) -> str:
    """Write the frames and the type of an exception, and of those it came from, the first one first."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain and len(chain) < _MOST:
        chain.append(following)
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return "\nand then:\n".join(
        f"{''.join(traceback.format_tb(each.__traceback__))}{kind_of(each)}" for each in reversed(chain)
    )

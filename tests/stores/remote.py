"""A store in a process of its own, used from here: a file of LMDB may be opened once in a process, not twice."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from typing import Any

from headgate.stores.store import Ask, Told
from tests.stores.contract import Answering
from tests.stores.processes import CEILING, end


class Remote:
    """The calls of a store, made in a child that has opened it."""

    def __init__(self, make: Callable[[], Answering]) -> None:
        self._calls, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                store = make()
                while True:
                    name, given, named = theirs.recv()
                    theirs.send(getattr(store, name)(*given, **named))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        theirs.close()

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        answer: list[Told] = self._call("admit", asks, now)
        return answer

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        self._call("settle", asks, now, local=local)

    def forget(self, keys: Sequence[bytes]) -> int:
        return int(self._call("forget", keys))

    def sweep(self, now: int) -> None:
        self._call("sweep", now)

    def kill(self) -> None:
        """End it without a word to the store."""
        self._calls.close()
        end(self.pid)

    def _call(self, name: str, *given: object, **named: object) -> Any:
        self._calls.send((name, given, named))
        assert self._calls.poll(CEILING), "the store does not answer"
        return self._calls.recv()

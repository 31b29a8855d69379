"""The script that counts, and how its calls are written: as bytes that are ready but for the keys and the time.

Law: what does not change from call to call is packed once, so a call costs one join of bytes.
"""

from __future__ import annotations

import hashlib
from binascii import hexlify
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from headgate.policy.limit.group import Group
from headgate.stores.redis.connection import Link, packed
from headgate.stores.store import Ask

Operation = Literal["admit", "settle", "undo", "forget"]


class Script(NamedTuple):
    """Its text, the digest that servers know it by, and the command that has them know it."""

    text: str
    sha: str
    load: bytes

    def bring(self, link: Link) -> None:
        """Have a server know it that said it does not; once for all calls that were told so."""
        if not link.loading:
            link.loading = link.send(self.load, _Loaded())


class _Loaded:
    """Takes the reply to SCRIPT LOAD; whether it helped is seen by the calls behind it."""

    __slots__ = ()

    def on_reply(self, reply: Any, link: Link) -> None:
        link.loading = False

    def on_lost(self) -> None:
        pass


def script_in(file: Path) -> Script:
    """Return the script that stands in a file."""
    text = file.read_text(encoding="utf-8")
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(text, sha, packed("SCRIPT", "LOAD", text))


SCRIPT: Final = script_in(Path(__file__).with_name("limits.lua"))
ASKING: Final = packed("ASKING")

_FRAMES: Final = 4096


class Frames:
    """Writes calls. Keys are PREFIX{DIGEST}, the digest in hexadecimal; the braces make it the Cluster's hash tag."""

    __slots__ = ("_admits", "_key", "_owner", "_prefix")

    def __init__(self, prefix: str, owner: int) -> None:
        """`owner` is the number of this worker, below 2**53, that nobody else has.

        Raises:
            ValueError: if the prefix has a brace, which would move the hash tag.
        """
        if "{" in prefix or "}" in prefix:
            raise ValueError("the prefix of Redis keys must not have braces")
        self._prefix = prefix.encode()
        self._owner = owner
        # The length of a key is always the same: two braces around 32 digits.
        self._key = b"$%d\r\n%b{" % (len(self._prefix) + 34, self._prefix)
        self._admits: dict[tuple[Group, tuple[int, ...]], tuple[bytes, bytes]] = {}

    def trial_key(self, tag: bytes = b"trial") -> bytes:
        """Return the key that new connections are proven with."""
        return b"%b{%b}" % (self._prefix, tag)

    def admit(self, asks: Sequence[Ask], tag: bytes, now: int | None) -> bytes:
        """Return the call that holds asks against their groups; `tag` is the key in hexadecimal if it is one ask.

        `now` None is the server's time.
        """
        if len(asks) > 1:
            return self.call("admit", asks, now)
        ask = asks[0]
        known = self._admits.get((ask.group, ask.costs))
        if known is None:
            known = self._learn(ask)
        if now is None:
            return b"%b%b%b" % (known[0], tag, known[1])
        return b"%b%b%b%b" % (known[0], tag, known[1][: -len(_NO_TIME)], _bulk(now))

    def call(self, operation: Operation, asks: Sequence[Ask], now: int | None) -> bytes:
        """Return the call of any operation on any number of groups, packed anew; forgetting needs no script."""
        keys = [b"%b{%b}" % (self._prefix, hexlify(ask.key)) for ask in asks]
        if operation == "forget":
            return packed("DEL", *keys)
        words = self._words(operation, asks)
        time = b"" if now is None else b"%d" % now
        return packed("EVALSHA", SCRIPT.sha, len(asks), *keys, *words, time)

    def _words(self, operation: Operation, asks: Sequence[Ask]) -> list[str | int]:
        words: list[str | int] = [operation, self._owner]
        for group, _, costs in asks:
            words += (len(group.algorithms), int(group.shadow))
            for algorithm, cost in zip(group.algorithms, costs, strict=True):
                words += (algorithm.code, cost, *algorithm.numbers)
        return words

    def _learn(self, ask: Ask) -> tuple[bytes, bytes]:
        if len(self._admits) >= _FRAMES:
            # Groups of plans that are gone; those in use come back with their next request.
            self._admits.clear()
        words = [str(word).encode() for word in self._words("admit", (ask,))]
        head = b"*%d\r\n%b%b%b%b" % (
            len(words) + 5, _bulk("EVALSHA"), _bulk(SCRIPT.sha), _bulk(1), self._key,
        )  # fmt: skip
        tail = b"}\r\n" + b"".join(map(_bulk, words)) + _NO_TIME
        self._admits[(ask.group, ask.costs)] = head, tail
        return head, tail


_NO_TIME: Final = b"$0\r\n\r\n"


def _bulk(word: str | int | bytes) -> bytes:
    text = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)

"""Cache-Control of requests and of answers (RFC 9111 section 5.2), as far as a shared cache acts on it.

Laws:
- What forbids is recognised in disorder, too; what allows only as it is written: a number in disorder is 0 seconds.
- A directive that is repeated counts with the value that allows less.
- Numbers beyond 2^31 stand for 2^31 (RFC 9111 section 1.2.2).
"""

from __future__ import annotations

import re
from functools import lru_cache

ABSENT = -1
"""In place of a number of seconds that was not told."""
_MOST = 1 << 31
# Browsers send at most some thirty bytes, servers a hundred. A field that is longer is not read but feared.
_LONGEST = 2048
# Between commas that are in no quoted string; one that does not end takes the rest.
_ITEM = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_SURROGATE_NAME = b"headgate"
# W3C Note "Edge Architecture Specification" section 2.2: who adds it may be addressed by Surrogate-Control.
SURROGATE_CAPABILITY = (b"Surrogate-Capability", _SURROGATE_NAME + b'="Surrogate/1.0"')


class Control:
    """What the Cache-Control of a message says. Durations are seconds, ABSENT where nothing is said.

    `hidden` are the names of fields, in lower case, that `private` or `no-cache` were limited to; `validate` is
    no-cache, `strict` is must-revalidate, `strict_shared` proxy-revalidate. `max_stale` only stands in requests.
    """

    __slots__ = (
        "hidden",
        "max_age",
        "max_stale",
        "min_fresh",
        "must_understand",
        "no_store",
        "only_if_cached",
        "private",
        "public",
        "shared_max_age",
        "stale_if_error",
        "stale_while_revalidate",
        "strict",
        "strict_shared",
        "validate",
    )

    def __init__(self) -> None:
        self.no_store = False
        self.validate = False
        self.private = False
        self.public = False
        self.strict = False
        self.strict_shared = False
        self.must_understand = False
        self.only_if_cached = False
        self.hidden: frozenset[bytes] = frozenset()
        self.max_age = ABSENT
        self.shared_max_age = ABSENT
        self.stale_while_revalidate = ABSENT
        self.stale_if_error = ABSENT
        self.max_stale = ABSENT
        self.min_fresh = ABSENT


NOTHING = Control()
"""Where there is no such field; not to be changed."""


def control(value: bytes) -> Control:
    """Read Cache-Control, the lines of a field joined by commas; what is returned is not to be changed."""
    if len(value) > _LONGEST:
        return _feared()
    return _control(value)


def targeted(name: bytes, value: bytes) -> Control | None:
    """Read a field that takes the place of Cache-Control (RFC 9213, or Surrogate-Control); None if it says nothing.

    `name` is in lower case. A directive of Surrogate-Control with a parameter is for the one whom that names.
    """
    if len(value) > _LONGEST:
        return _feared()
    items = _ITEM.findall(value)
    kept = []
    for item in items:
        directive, mark, parameters = item.partition(b";")
        if name != b"surrogate-control" or not mark or parameters.strip() == _SURROGATE_NAME:
            kept.append(directive.strip())
    kept = [each for each in kept if each]
    return _control(b",".join(kept)) if kept else None


def _feared() -> Control:
    found = Control()
    found.no_store = found.validate = True
    return found


@lru_cache(maxsize=1024)
def _control(value: bytes) -> Control:
    found = Control()
    for item in _ITEM.findall(value):
        name, mark, argument = item.partition(b"=")
        name = name.lower()
        directive = name.strip()
        flag = _FLAGS.get(directive)
        if flag is not None:
            _raise(found, flag, argument.strip() if mark else b"")
            continue
        slot = _NUMBERS.get(directive)
        if slot is not None:
            # RFC 9110 section 5.6.6 has no space at the equals sign: such a number is in disorder.
            told = _number(argument.rstrip() if name.rstrip() == name else b"")
            if directive == b"max-stale" and not mark:
                told = _MOST
            before = getattr(found, slot)
            setattr(found, slot, told if before == ABSENT else _less(slot, before, told))
    return found


_FLAGS = {
    b"no-store": "no_store",
    b"no-cache": "validate",
    b"private": "private",
    b"public": "public",
    b"must-revalidate": "strict",
    b"proxy-revalidate": "strict_shared",
    b"must-understand": "must_understand",
    b"only-if-cached": "only_if_cached",
}
_NUMBERS = {
    b"max-age": "max_age",
    b"s-maxage": "shared_max_age",
    b"stale-while-revalidate": "stale_while_revalidate",
    b"stale-if-error": "stale_if_error",
    b"max-stale": "max_stale",
    b"min-fresh": "min_fresh",
}


def _raise(found: Control, flag: str, argument: bytes) -> None:
    """Note a directive; `private` and `no-cache` with names hide these fields only (RFC 9111 section 5.2.2.4)."""
    if argument and flag in ("private", "validate"):
        names = frozenset(name for part in argument.strip(b'"').split(b",") if (name := part.strip(b' \t"').lower()))
        if names:
            found.hidden |= names
            return
    setattr(found, flag, True)


def _number(argument: bytes) -> int:
    if len(argument) > 2 and argument[:1] == b'"' and argument[-1:] == b'"':
        argument = argument[1:-1]
    if not argument.isdigit():
        return 0
    return _MOST if len(argument) > 10 else min(int(argument), _MOST)


def _less(slot: str, one: int, other: int) -> int:
    # More freshness asked for allows less.
    return max(one, other) if slot == "min_fresh" else min(one, other)

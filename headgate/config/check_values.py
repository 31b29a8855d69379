"""Checks of single values that several blocks share, and how a part's own objections become findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from headgate.config.problems import Path, Severity, did_you_mean, printable
from headgate.core.field_names import field_name_objection
from headgate.core.objection import Objection
from headgate.core.uri import BadTarget, normalize_path
from headgate.policy.edits import check_edits
from headgate.policy.pattern import TOKEN, escaped
from headgate.policy.rewrite import FieldEdits
from headgate.wire.http1 import METHODS

# What examples write in place of a secret.
_EXAMPLE = re.compile(
    r"(?:change|replace)[-_ ]?(?:me|this|it)|your[-_ ].{0,40}(?:secret|key|token|password)", re.IGNORECASE
)
KNOWN_TO_ALL = "this stands in examples, so everybody knows it"


class Finding(NamedTuple):
    """One thing wrong, by the way to its key; the loader adds where that was written."""

    path: Path
    message: str
    hint: str = ""
    severity: Severity = "error"


def is_example(secret: str) -> bool:
    """Tell whether a secret is the one of an example, long as it may be."""
    return _EXAMPLE.match(secret) is not None


def found_by(objections: Iterable[Objection], path: Path) -> Iterator[Finding]:
    """Turn what a part objects to in its settings, which stand at `path`, into findings."""
    for objection in objections:
        yield Finding((*path, *objection.at), objection.message)


def field_names(names: list[str], path: Path) -> Iterator[Finding]:
    """Find what is no name of a header field, or one that is not configuration's to name."""
    for place, name in enumerate(names):
        message = field_name_objection(name, "response")
        if message is not None:
            yield Finding((*path, place), message)


def methods(names: list[str], path: Path) -> Iterator[Finding]:
    """Find what is no method, or one that no request comes with: a slip in a rule would open what the rule guards."""
    for place, name in enumerate(names):
        yield from method(name, (*path, place))


def method(name: str, path: Path) -> Iterator[Finding]:
    """Find what is wrong with the name of one method."""
    if not TOKEN.fullmatch(name):
        yield Finding(path, f'"{printable(name)}" is not a method', "write a word such as GET")
    elif name.upper() not in METHODS:
        hint = did_you_mean(name, METHODS)
        hint = hint if hint.startswith("did") else "write a word such as GET"
        yield Finding(path, f'no request comes with the method "{printable(name)}": it is answered with 501', hint)


def field_value(value: str, path: Path) -> Iterator[Finding]:
    """Find what keeps text from being the value of a header field."""
    for objection in check_edits(FieldEdits(set={"content-type": value}), "response"):
        yield Finding(path, objection.message)
    if not value.strip() or not value.isascii():
        yield Finding(path, "expected visible ASCII characters", "such as application/json")


def normal_form(text: str, path: Path) -> Iterator[Finding]:
    """Find a path that is compared in another spelling than the one it was written in."""
    raw = escaped(text)
    try:
        normal = normalize_path(raw.encode("ascii"), encoded_slashes=True)
    except BadTarget as error:
        yield Finding(path, f"no request has such a path: {error}")
        return
    if normal != raw:
        yield Finding(path, "requests are compared in normal form, and this path is not in it", f"write {normal}")

"""Checks of single values that several blocks share, and how a part's own objections become findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from headgate.config.problems import Path, Severity
from headgate.core.field_names import field_name_objection
from headgate.core.objection import Objection
from headgate.core.uri import BadTarget, normalize_path
from headgate.policy.edits import check_edits
from headgate.policy.pattern import escaped
from headgate.policy.rewrite import FieldEdits


class Finding(NamedTuple):
    """One thing wrong, by the way to its key; the loader adds where that was written."""

    path: Path
    message: str
    hint: str = ""
    severity: Severity = "error"


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

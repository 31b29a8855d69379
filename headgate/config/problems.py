"""What is wrong with a configuration, for people and for machines.

Law: one problem is one line: where, how bad, which key, what was expected, and what to write instead. A value that
came from the environment, or that stands on a secret key, is never part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning"]
Path = tuple[str | int, ...]

# User and password of a URL; a password may hold anything but blanks.
_USERINFO = re.compile(r"(?<=://)[^\s/@:]*(?::\S*)?@")
_TELLING = re.compile(r"token|secret|passw|passphrase|key|credential|authorization|cookie|pepper", re.IGNORECASE)
# What may be a setting's name, rightly or wrongly spelt.
_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,39}[0-9]?")
_PARAMETER = re.compile(rf"([?&][^=&#\s]*(?:{_TELLING.pattern})[^=&#\s]*=)[^&#\s\"']*", re.IGNORECASE)
_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}
_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"


class Origin(NamedTuple):
    """Where a value was written: a file with line and column (from 1), or the command line with line 0."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `path` is the dotted key, "" for a whole file; `excerpt` the line with a caret."""

    origin: Origin
    path: str
    message: str
    hint: str = ""
    severity: Severity = "error"
    excerpt: str = ""

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        hint = f" - {self.hint}" if self.hint else ""
        return f"{self.origin}: {self.severity}: {path}{self.message}{hint}"


def render(problems: Iterable[Problem], *, colour: bool = False) -> str:
    """Write problems for people, one a line (two more where the source line is shown), in the order of the files."""
    return "\n".join(_rendered(problem, colour) for problem in in_order(problems))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems by file, line and column; those of the command line come last."""
    return sorted(problems, key=lambda problem: (not problem.origin.line, problem.origin, problem.path))


def to_json(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Give problems as plain data: file, line, column, path, message, hint, severity."""
    return [
        {
            "file": problem.origin.source,
            "line": problem.origin.line or None,
            "column": problem.origin.column or None,
            "path": problem.path,
            "message": problem.message,
            "hint": problem.hint or None,
            "severity": problem.severity,
        }
        for problem in in_order(problems)
    ]


def _rendered(problem: Problem, colour: bool) -> str:
    excerpt = f"\n{problem.excerpt}" if problem.excerpt else ""
    if not colour:
        return f"{problem}{excerpt}"
    path = f"{_BOLD}{problem.path}{_RESET}: " if problem.path else ""
    hint = f" - {problem.hint}" if problem.hint else ""
    where = f"{_DIM}{problem.origin}:{_RESET} {_COLOURS[problem.severity]}{problem.severity}:{_RESET}"
    return f"{where} {path}{problem.message}{hint}{_DIM}{excerpt}{_RESET}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest of `known`, or list them when none is near and they are few; "" when there is nothing."""
    names = sorted(set(known))
    lowered = {name.lower(): name for name in names}
    near = get_close_matches(word.lower().replace("-", "_"), lowered, n=1, cutoff=0.6) or get_close_matches(
        word.lower(), lowered, n=1, cutoff=0.6
    )
    if near:
        return f'did you mean "{lowered[near[0]]}"?'
    if not names:
        return ""
    return f"known here: {', '.join(names)}" if len(names) <= 50 else ""


def sounds_secret(text: str) -> bool:
    """Tell whether a name, or a line of a file, speaks of something secret."""
    return _TELLING.search(text) is not None


def key_shown(key: str) -> str:
    """Return a key that nobody knows, as it is shown: in a broken file it may be a value, and a secret one."""
    return key if _NAME.fullmatch(key) else "***"


def without_url_secrets(text: str) -> str:
    """Take user and password out of the URLs in a text, and what parameters with telling names say."""
    text = _USERINFO.sub("***@", text) if "@" in text else text
    return _PARAMETER.sub(r"\1***", text) if "=" in text else text


def printable(text: str) -> str:
    """Cut text, and mask what a terminal would obey and what stands before the @ of a URL."""
    text = without_url_secrets(text)
    shown = "".join(char if char.isprintable() else "?" for char in text[:60])
    return shown if len(text) <= 60 else f"{shown}..."

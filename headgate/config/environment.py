"""Variables inside text: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar sign.

The rules are those of the shell and of Compose files: the default stands in for a variable that is unset or empty.
YAML would read the braces as its own in `{token: ${TOKEN}}`, so before parsing they are swapped for characters that
mean nothing to it, one for one, which keeps every line and column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# One * stands for a part of a name that varies (config.expansion).
_NAME = r"[A-Za-z_][A-Za-z0-9_]*\*?[A-Za-z0-9_]*"
_WHOLE = re.compile(rf"\$\{{({_NAME})(?::-([^}}]*))?\}}")
_FAMILY = re.compile(r"\$\{[A-Za-z0-9_]*\*")
# Quotes and backslashes stay visible: inside quoted text they are YAML's to read.
_HIDEABLE = re.compile(rf"\$\{{{_NAME}(?::-[^}}\n\"'\\]*)?\}}")
_VARIABLE = re.compile(rf"\$\$|\$\{{({_NAME})(?::-([^}}]*))?\}}|\$\{{[^}}]*\}}?")
# Plane 15 is private use: no character of it means anything to YAML. It has room for many copies of ASCII, and one
# is taken that the text does not use itself.
_SHIFTS = range(0xF0000, 0xFFF80, 0x80)
_ASCII = range(0x20, 0x7F)


class Value(NamedTuple):
    """What a declared variable stands for: the texts of a list, or one, or none for one that is not set.

    `words`: it is text by its type, whatever it looks like.
    """

    texts: tuple[str, ...]
    many: bool
    given: bool
    words: bool = False


class Declared(Mapping[str, str]):
    """Variables of which some are declared, with a type and a default."""

    def value_of(self, name: str) -> Value | None:
        """Return what a variable stands for; None for one that nobody has declared."""
        raise NotImplementedError


class BadVariable(ValueError):
    """A variable that is not set, which the message names, or a `${` that is none; no message holds a value."""


def hide(text: str) -> tuple[str, int]:
    """Swap every `${...}` in a text for characters without meaning to YAML; also return how far they were shifted."""
    if "${" not in text:
        return text, 0
    used = {ord(char) & ~0x7F for char in text if char >= "\U000f0000"} if not text.isascii() else set()
    shift = next((each for each in _SHIFTS if each not in used), 0)
    table = {code: shift + code for code in _ASCII}
    return _HIDEABLE.sub(lambda match: match[0].translate(table), text), shift


def show(text: str, shift: int) -> str:
    """Undo `hide` in a part of its text."""
    return text.translate({shift + code: code for code in _ASCII}) if shift and not text.isascii() else text


def whole_variable(text: str) -> tuple[str, str] | None:
    """Return name and default of the variable that is all of a text."""
    match = _WHOLE.fullmatch(text)
    return (match[1], match[2] or "") if match is not None else None


def names_family(text: str) -> bool:
    """Tell whether a text holds variables whose names have a part that varies."""
    return "*" in text and _FAMILY.search(text) is not None


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the text with its variables replaced, and their names, whether set or by default.

    Raises:
        BadVariable: for a variable that is neither set nor has a default, or a malformed `${`.
    """
    used: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match[1], match[2]
        if name is None:
            # It may be the end of a password, so it is not repeated.
            raise BadVariable("${ without a variable: write ${NAME} or ${NAME:-default}, or $${ for a ${")
        used.append(name)
        if "*" in name:
            raise BadVariable(f"${{{name}}} stands for several variables: write it below a for_each")
        value = environ.get(name)
        if value is None and default is None:
            raise BadVariable(f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}")
        return value or default or ""

    return _VARIABLE.sub(replace, text), tuple(used)

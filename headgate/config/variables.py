"""The variables that a configuration declares under `env`, read from the environment by their types.

Laws: a declared variable that is set must be readable as its type, or the start is refused by its name; an empty one
counts as not set; no problem holds a value. What is not declared may be used by a user's own files only. A declared one
may be spelt in small letters where nothing is set by its own name, as pydantic's settings are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Set
from copy import copy
from pathlib import Path
from urllib.parse import urlsplit

from headgate.config.environment import Declared, Value
from headgate.config.language import Variable
from headgate.config.problems import Origin, Problem
from headgate.core.settings import parse_size

MOST_SECRET = 65_536
_NOTHING = Value((), False, False)
# Types that are text: a version 2.0 is no number, a name that reads no is no boolean.
_WORDS = ("text", "url", "enum")
# As time.ParseDuration of Go reads them, and days.
_GO_DURATION = re.compile(r"\+?(?:(?:\d{1,15}(?:\.\d{0,9})?|\.\d{1,9})(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d))+", re.ASCII)
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h|d)", re.ASCII)
_UNITS = {"ns": 1e-9, **dict.fromkeys(("us", "\u00b5s", "\u03bcs"), 1e-6)}
_UNITS |= {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on", "t", "y"), "true"),
    **dict.fromkeys(("false", "0", "no", "off", "f", "n"), "false"),
}


class Variables(Declared):
    """What the environment says, behind a table of what it may say; `unread` are those that hold nothing of use."""

    def __init__(
        self, table: Mapping[str, Variable], environ: Mapping[str, str], dotenv: Set[str] = frozenset()
    ) -> None:
        """Read all variables of the table; what is wrong stands in `problems`.

        Args:
            table: by name; a name with a * stands for all that match.
            environ: the environment.
            dotenv: those of it that come from `.env`.
        """
        self.table = table
        self.problems: list[Problem] = []
        self.unread: set[str] = set()
        self._environ = environ
        self._dotenv = dotenv
        self._set_by: dict[str, str] = {}
        self._spelt = _in_capitals(environ)
        self._used: set[str] = set()
        self._open = True
        self._families = {name: _pattern(name) for name in table if "*" in name}
        self._own = {alias: name for name, variable in table.items() for alias in variable.aliases}
        self._values: dict[str, Value] = {}
        for name, variable in table.items():
            # Of a family all that are set: a value that is none is an error, whether anything asks for it or not.
            for part in self.members(name) if "*" in name else ("",):
                spelt = name.replace("*", part)
                self._values[spelt] = self._read(spelt, variable)

    def closed(self) -> Variables:
        """Return the same, without what is not declared."""
        made = copy(self)
        made._open = False
        return made

    def value_of(self, name: str) -> Value | None:
        """Return what a variable stands for; None for one that the table has not."""
        name = self._own.get(name, name)
        known = self._values.get(name)
        if known is None:
            variable = self.declared(name)
            if variable is None:
                return None
            known = self._values[name] = self._read(name, variable)
        return known

    def declared(self, name: str) -> Variable | None:
        """Return what the table says of a variable; None when it says nothing."""
        found = self.table.get(self._own.get(name, name))
        if found is None and name not in self.table:
            family = next((each for each, pattern in self._families.items() if pattern.fullmatch(name)), "")
            found = self.table.get(family)
        return found

    def reads(self, name: str) -> bool:
        """Tell whether anything is made of a variable by this name: the table takes it, or a document has used it."""
        if name in self._used:
            return True
        spelt = {name, name.upper()}
        files = {each.removesuffix("_FILE") for each in spelt if each.endswith("_FILE")}
        secret = any((known := self.declared(each)) is not None and known.secret for each in files)
        return secret or any(self.declared(each) is not None for each in spelt)

    def source_of(self, name: str) -> str:
        """Return where a variable that is set is set: the environment, or `.env`."""
        name = self._own.get(name, name)
        return self._source(self._set_by.get(name, name))

    def _source(self, spelt: str) -> str:
        small = spelt not in self._environ and any(each.upper() == spelt for each in self._dotenv)
        return ".env" if spelt in self._dotenv or small else "environment"

    def members(self, family: str) -> list[str]:
        """List what stands for the * in the names of those variables of a family that are set, in order."""
        pattern = _pattern(family)
        found = [match[1] for name, text in self._spelt.items() if text and (match := pattern.fullmatch(name))]
        return sorted(found)

    # -- as a mapping, for what is put into a text ------------------------------------------------------------------

    def __getitem__(self, name: str) -> str:
        """Return the text of a variable; raise KeyError for one that is neither declared nor set."""
        value = self.value_of(name)
        if value is not None:
            return ",".join(value.texts)
        if self._open:
            self._used.add(name)
            return self._environ[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """List the names."""
        return iter({**self._values, **(self._environ if self._open else {})})

    def __len__(self) -> int:
        """Return how many there are."""
        return len(list(iter(self)))

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read(self, name: str, variable: Variable) -> Value:
        given, text = self._given(name, variable)
        self._set_by[name] = given
        if not text:
            if given != name:
                self.unread.add(name)
            return _value_of_default(variable)
        try:
            texts = READERS[variable.type](text, variable)
        except ValueError as error:
            self.problems.append(Problem(Origin(self._source(given)), "", f"{given}: {error}"))
            self.unread.add(name)
            return _NOTHING._replace(many=variable.type == "list")
        return Value(texts, variable.type == "list", True, variable.type in _WORDS)

    def _given(self, name: str, variable: Variable) -> tuple[str, str]:
        """Return under which name a variable is set, and its text; none, where its file has none."""
        for spelt in (name, *variable.aliases):
            if text := self._spelt.get(spelt, ""):
                return spelt, text
            if variable.secret and (file := self._spelt.get(f"{spelt}_FILE", "")):
                return f"{spelt}_FILE", self._content(f"{spelt}_FILE", Path(file))
        return name, ""

    def _content(self, name: str, file: Path) -> str:
        try:
            if file.is_fifo():
                # Whoever opens one waits for somebody who writes, at every reload.
                raise ValueError("it is a pipe")
            with file.open("rb") as opened:
                raw = opened.read(MOST_SECRET + 1)
            if len(raw) > MOST_SECRET:
                raise ValueError(f"the file is larger than {MOST_SECRET} bytes")
            if content := raw.decode().rstrip("\r\n"):
                return content
            reason = "the file is empty"
        except UnicodeDecodeError:
            reason = "the file is not UTF-8 text"
        except (OSError, ValueError) as error:
            reason = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
        self.problems.append(Problem(Origin(self._source(name)), "", f"{name}: {reason}"))
        return ""


def _in_capitals(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables, those with small letters also by the names in capitals that are not set."""
    small = {name.upper(): text for name, text in environ.items() if text and name != name.upper()}
    return {**environ, **{name: text for name, text in small.items() if not environ.get(name)}} if small else environ


def _pattern(family: str) -> re.Pattern[str]:
    before, _, behind = family.partition("*")
    return re.compile(rf"{re.escape(before)}([A-Za-z0-9_]+){re.escape(behind)}")


def _value_of_default(variable: Variable) -> Value:
    default, many = variable.default, variable.type == "list"
    if isinstance(default, list):
        return Value(tuple(map(_text, default)), many, False)
    text = _text(default) if default is not None else ""
    return Value(READERS[variable.type](text, variable) if text else (), many, False, variable.type in _WORDS)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- by type --------------------------------------------------------------------------------------------------------


def _read_text(text: str, _: Variable) -> tuple[str, ...]:
    return (text,)


def _read_bool(text: str, _: Variable) -> tuple[str, ...]:
    if (word := _BOOLEANS.get(text.strip().lower())) is None:
        raise ValueError("expected true or false (also yes, no, on, off, 1, 0)")
    return (word,)


def _read_int(text: str, _: Variable) -> tuple[str, ...]:
    if not re.fullmatch(r"\s*[-+]?[0-9]{1,18}\s*", text, re.ASCII):
        raise ValueError("expected a whole number")
    return (str(int(text)),)


def _read_number(text: str, _: Variable) -> tuple[str, ...]:
    if not re.fullmatch(r"\s*[-+]?[0-9]{1,18}(?:\.[0-9]{0,18})?\s*", text, re.ASCII):
        raise ValueError("expected a number")
    return (f"{float(text):.12g}",)


def _read_duration(text: str, variable: Variable) -> tuple[str, ...]:
    text = text.strip()
    if not _GO_DURATION.fullmatch(text):
        try:
            return _read_number(text, variable)
        except ValueError:
            raise ValueError("expected seconds, or text such as 500ms, 30s, 5m, 1h30m") from None
    return (f"{sum(float(number) * _UNITS[unit] for number, unit in _GO_PART.findall(text)):.12g}",)


def _read_size(text: str, _: Variable) -> tuple[str, ...]:
    return (str(parse_size(text)),)


def _read_list(text: str, _: Variable) -> tuple[str, ...]:
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("expected a JSON list of texts, or texts with commas between them") from None
        if not all(isinstance(item, str) for item in items):
            raise ValueError("expected a list of texts")
    else:
        items = text.split(",")
    return tuple(filter(None, map(str.strip, items)))


def _read_url(text: str, _: Variable) -> tuple[str, ...]:
    text = text.strip()
    try:
        parts = urlsplit(text)
        good = bool(parts.scheme and (parts.hostname or parts.path)) and "://" in text and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("expected a URL such as http://host:8000")
    return (text,)


def _read_enum(text: str, variable: Variable) -> tuple[str, ...]:
    found = next((each for each in variable.values if each.lower() == text.strip().lower()), None)
    if found is None:
        raise ValueError(f"expected one of {', '.join(variable.values)}")
    return (found,)


READERS: Mapping[str, Callable[[str, Variable], tuple[str, ...]]] = {
    "text": _read_text,
    "bool": _read_bool,
    "int": _read_int,
    "number": _read_number,
    "duration": _read_duration,
    "size": _read_size,
    "list": _read_list,
    "url": _read_url,
    "enum": _read_enum,
}

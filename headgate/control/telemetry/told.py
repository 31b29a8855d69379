"""What workers tell, looked at before anything else of control has it: strangers talk to workers.

Laws: what passes is of the shape that its TypedDict says and of bounded size, key by key and down to the last value,
so that nothing behind has to doubt it; what does not is dropped whole, for half of it would say something else. The
shape is read from the TypedDict itself: there is no second list of its keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, Literal, NotRequired, TypeGuard, cast, get_args, get_origin, get_type_hints, is_typeddict

from headgate.control.log import LEVELS, Line
from headgate.telemetry.access_log import MAX_PATH
from headgate.telemetry.record import MOST_ATTEMPTS, MOST_CANDIDATES, MOST_LIMITS, MOST_ROLES, Record

# Characters. Names of a configuration may be longer than what a client can have told.
MOST_TEXT: Final = 2 * MAX_PATH
# Of a line of the log, which may be about a traceback.
MOST_LINE: Final = 64 * 1024
MOST_FIELDS: Final = 64
MOST_RECORDS: Final = 10_000
# Limits of one request are listed by several gates.
_MOST_ITEMS: Final = 4 * max(MOST_ATTEMPTS, MOST_CANDIDATES, MOST_LIMITS, MOST_ROLES)
_LARGEST: Final = 2**63
_HALF: Final = re.compile("[\ud800-\udfff]")
# Seconds: no moment, and no duration, is farther away; as nanoseconds the sum of two has 64 bits. What happens at once
# may be rounded to just before the beginning.
_LONGEST: Final = 4e9
_EARLIEST: Final = -1.0
# What goes on as bytes (OTLP) is of one length. W3C Trace Context section 3.2.2.
_FORMS: Final = {
    "trace_id": re.compile(r"[0-9a-f]{32}"),
    "span_id": re.compile(r"[0-9a-f]{16}"),
    "parent_id": re.compile(r"[0-9a-f]{16}"),
}

_Check = Callable[[Any], bool]


def as_record(told: object, worker: int) -> Record | None:
    """Return what a worker tells as a record; None where it is none, or that of another worker."""
    return cast("Record", told) if _is_record(told) and cast("Record", told)["worker"] == worker else None


def as_line(told: Mapping[str, Any], process: str) -> Line | None:
    """Return what a process tells as a line of the log; None where it is none."""
    at, message, fields = told.get("at"), told.get("message"), told.get("fields")
    level = next((each for each in LEVELS if each == told.get("level")), None)
    if level is None or not _is_number(at) or not _is_line(message) or not isinstance(fields, dict):
        return None
    if len(fields) > MOST_FIELDS or not all(_is_text(key) and _is_plain(value) for key, value in fields.items()):
        return None
    return Line(float(at), level, process, message, fields)


def as_count(told: object) -> int | None:
    """Return how many of something there were; None where that is none."""
    return told if _is_whole(told) and told >= 0 else None


# -- shapes --------------------------------------------------------------------------------------------------------


def _is_text(told: object) -> TypeGuard[str]:
    return _is_of(told, MOST_TEXT)


def _is_line(told: object) -> TypeGuard[str]:
    return _is_of(told, MOST_LINE)


def _is_of(told: object, most: int) -> TypeGuard[str]:
    # JSON can spell half a character, which no answer can be written with.
    return isinstance(told, str) and len(told) <= most and (told.isascii() or _HALF.search(told) is None)


def _is_whole(told: object) -> TypeGuard[int]:
    return isinstance(told, int) and not isinstance(told, bool) and -_LARGEST <= told < _LARGEST


def _is_number(told: object) -> TypeGuard[float]:
    # Nothing that is no number is smaller or larger than another one.
    return isinstance(told, int | float) and not isinstance(told, bool) and _EARLIEST < told < _LONGEST


def _is_flag(told: object) -> bool:
    return type(told) is bool


def _is_plain(told: object) -> bool:
    """Tell whether it may stand in a field of a line (log.Line.as_message)."""
    if isinstance(told, list):
        return len(told) <= MOST_FIELDS and all(_is_line(each) for each in told)
    return told is None or _is_line(told) or _is_flag(told) or _is_number(told)


_SIMPLE: Final[dict[Any, _Check]] = {
    str: _is_text, int: _is_whole, float: _is_number, bool: _is_flag, NoneType: lambda told: told is None
}  # fmt: skip


def _check_of(name: str, form: Any) -> _Check:
    """Make the check of what stands under a name, from its annotation."""
    if name in _FORMS:
        pattern = _FORMS[name]
        return lambda told: type(told) is str and pattern.fullmatch(told) is not None
    if name == "started":
        return lambda told: _is_number(told) and told >= -_EARLIEST
    if is_typeddict(form):
        return _mapping(form)
    origin, arguments = get_origin(form), get_args(form)
    if origin is list:
        each = _check_of("", arguments[0])
        return lambda told: type(told) is list and len(told) <= _MOST_ITEMS and all(map(each, told))
    if origin is Literal:
        return lambda told: type(told) is str and told in arguments
    return _SIMPLE[form]


def _mapping(form: Any) -> _Check:
    checks: dict[str, _Check] = {}
    required: set[str] = set()
    for name, annotation in get_type_hints(form, include_extras=True).items():
        optional = get_origin(annotation) is NotRequired
        checks[name] = _check_of(name, get_args(annotation)[0] if optional else annotation)
        if not optional:
            required.add(name)

    def check(told: Any) -> bool:
        if type(told) is not dict or not required <= told.keys():
            return False
        for name, each in told.items():
            known = checks.get(name)
            if known is None or not known(each):
                return False
        return True

    return check


_is_record: Final = _mapping(Record)

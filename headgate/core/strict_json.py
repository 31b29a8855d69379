"""JSON from people we do not know, read so that everybody who reads it understands the same.

Laws: UTF-8 without a mark, one value; a name stands once in an object (RFC 8259 section 4 leaves open which one counts,
and whoever reads behind us may take the other); numbers are finite; text can be written as UTF-8 again; nothing is
deeper than MOST_DEPTH. Whatever breaks this is ValueError, whose sentence holds nothing of what was read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NoReturn

MOST_DEPTH: Final = 64


def read_json(body: bytes) -> Any:
    """Read one JSON text.

    Raises:
        ValueError: with a sentence, for what is no JSON or breaks a law above.
    """
    try:
        text = body.decode().strip(_WHITE)
        value, end = _DECODER.raw_decode(text)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except json.JSONDecodeError:
        raise ValueError(_NO_JSON) from None
    if end != len(text):
        raise ValueError(_NO_JSON)
    if body.count(b"{") + body.count(b"[") > MOST_DEPTH and _deeper(value):
        raise ValueError(_TOO_DEEP)
    # Half of a surrogate pair can only be written as an escape, and as UTF-8 not at all.
    if b"\\u" in body:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it has text that is no Unicode") from None
    return value


def read_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ValueError: with a sentence, for what is none.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


# RFC 8259 section 2.
_WHITE: Final = " \t\n\r"
_NO_JSON: Final = "it is no JSON"
_TOO_DEEP: Final = f"it is deeper than {MOST_DEPTH} levels"


def _deeper(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            each
            for parent in level
            for each in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(each, dict | list)
        ]
        if not level:
            return False
    return True


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return made


def _integer(text: str) -> int:
    # Longer ones cost time that grows with the square of their length; no date or id has so many digits.
    if len(text) > 400:
        raise ValueError("a number is too long")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _constant(_text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


# Its decode() costs as much again on texts this short: it looks for white space by regular expressions.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_finite, parse_constant=_constant
)

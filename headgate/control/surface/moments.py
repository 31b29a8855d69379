"""Moments in the answers of own endpoints as ISO 8601, where an item of `surface` wants them so.

Law: which fields are moments is a list; nothing else of a record is touched, and the record itself is left as it is.
"""

from __future__ import annotations

from typing import Any, Final

from headgate.config.body_templates import iso

MOMENTS: Final = frozenset(
    (
        *("timestamp", "start_time", "end_time", "started", "first_seen", "last_seen"),
        *("last_check", "last_health_check", "checked_at", "opened_at", "open_until"),
        *("last_failure_time", "last_success_time"),
    )
)
_DIGITS: Final = 6


def in_words(found: Any) -> Any:
    """Return a copy of an answer whose moments, seconds since 1970, are texts such as 2025-11-27T10:30:00.123456Z."""
    if isinstance(found, dict):
        return {key: _written(value) if key in MOMENTS else in_words(value) for key, value in found.items()}
    return [in_words(each) for each in found] if isinstance(found, list | tuple) else found


def _written(value: Any) -> Any:
    return iso(value, "Z", _DIGITS) if isinstance(value, int | float) else in_words(value)

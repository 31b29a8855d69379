"""A key as operators are shown it, by the command line and over the admin API: all that is stored but the digest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # With it comes the library of databases.
    from headgate.control.keys.key_store import StoredKey


def record_of(key: StoredKey, now: float) -> dict[str, Any]:
    """Return it as plain data; moments in ISO 8601, UTC, None for never."""
    record: dict[str, Any] = {**key._asdict(), "state": key.state(now)}
    for name in ("created_at", "expires_at", "revoked_at", "last_used_at"):
        record[name] = moment_text(record[name]) or None
    return record


def moment_text(moment: float | None) -> str:
    """Write a moment (seconds since 1970); nothing for never."""
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Units and markers of settings."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from headgate.core.settings import parse_duration, parse_size, setting, settings


@settings
class Sample:
    """A sample."""

    count: int = setting(default=1, help="A count.", ge=1)
    names: list[str] = setting(default=list, help="Names.")
    token: str = setting(default="", help="A token.", secret=True, aliases=("key",))


def test_a_settings_class_is_a_frozen_slotted_dataclass() -> None:
    sample = Sample(count=2)
    assert sample == Sample(count=2)
    assert sample.names is not Sample().names
    assert not hasattr(sample, "__dict__")
    with pytest.raises(FrozenInstanceError):
        sample.count = 3  # type: ignore[misc]


def test_rules_are_kept_for_the_validator_and_the_rest_beside_them() -> None:
    fields = Sample.__dataclass_fields__
    assert dict(fields["count"].metadata) == {"description": "A count.", "ge": 1}
    assert fields["token"].metadata["json_schema_extra"] == {"aliases": ("key",), "secret": True}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("1.5m", 90.0),
        (" 2 h ", 7200.0),
        ("1d", 86400.0),
        ("30", 30.0),
        (5, 5),
        (True, True),
    ],
)
def test_durations(value: object, seconds: object) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize("value", ["", "nan", "inf", "-5s", "5 seconds", "1e3", "٣s", "9" * 400, "s"])
def test_no_durations(value: str) -> None:
    with pytest.raises(ValueError, match="500ms"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [("64KiB", 65536), ("10MiB", 10485760), ("1GB", 10**9), ("1 kB", 1000), ("1KB", 1000), ("7", 7), ("7B", 7), (9, 9)],
)
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "1.5KiB", "-1", "10 megabytes", "KiB", "9" * 400])
def test_no_sizes(value: str) -> None:
    with pytest.raises(ValueError, match="64KiB"):
        parse_size(value)

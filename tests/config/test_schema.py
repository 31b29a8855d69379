"""The settings classes as the validation library sees them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from headgate.config.schema import Config, Listen


def test_the_library_makes_plain_instances() -> None:
    config = TypeAdapter(Config).validate_python({"listen": ["a:80"], "services": [{"name": "a"}]})
    assert config.listen == [Listen(address="a:80")]
    assert config == Config(listen=[Listen(address="a:80")], services=config.services)


def test_defaults_are_not_shared() -> None:
    assert Config().services is not Config().services
    assert Config() == Config()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Config).validate_python({"worker": 1})

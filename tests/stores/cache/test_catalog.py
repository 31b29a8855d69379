"""Every store of cached answers of the catalog is held to the contract."""

from __future__ import annotations

from importlib import import_module

import pytest

from headgate.catalog import CACHES
from tests.stores.cache.contract import CacheContract


@pytest.mark.parametrize("name", CACHES)
def test_the_contract_is_tested_for(name: str) -> None:
    module = import_module(f"tests.stores.cache.test_{name}")
    classes = [each for each in vars(module).values() if isinstance(each, type) and each is not CacheContract]
    assert any(issubclass(each, CacheContract) for each in classes)

"""Every store of the catalog is held to the contract."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

from headgate.catalog import STORES
from tests.stores.contract import StoreContract


@pytest.mark.parametrize("name", STORES)
def test_the_contract_is_tested_for(name: str) -> None:
    # A store with a package of its own has its tests in one, too.
    package = find_spec(f"tests.stores.{name}") is not None
    module = import_module(f"tests.stores.{name}.test_contract" if package else f"tests.stores.test_{name}")
    classes = [each for each in vars(module).values() if isinstance(each, type) and each is not StoreContract]
    assert any(issubclass(each, StoreContract) for each in classes)

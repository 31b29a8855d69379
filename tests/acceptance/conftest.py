"""A Redis server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.redis.servers import RedisServer


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server

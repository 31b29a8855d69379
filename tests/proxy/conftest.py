"""The engine's tests run for both versions of HTTP: what a client says and hears is the same.

Each test that connects through the rig runs a second time with its clients bridged to HTTP/2 (tests.proxy.bridge). What
exists in one version only stands in `HTTP1_ONLY` with its reason, a whole file or one test of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy import stage
from tests.proxy.bridge import bridged

HTTP1_ONLY: dict[str, str] = {}


def _reason(node: pytest.Metafunc) -> str | None:
    name = node.definition.nodeid.rpartition("/")[2]
    return HTTP1_ONLY.get(name.partition("::")[0]) or HTTP1_ONLY.get(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test for HTTP/2, too, if it has a case there."""
    plays = hasattr(metafunc.function, "__wrapped__") and "rig.client" in Path(metafunc.module.__file__).read_text()
    versions = [1, 2] if os.environ.get("TRY_HTTP2") and plays and _reason(metafunc) is None else [1]
    metafunc.parametrize("http_version", versions, ids=[f"http{each}" for each in versions], indirect=True)


@pytest.fixture(autouse=True)
def http_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let clients of the rig speak this version."""
    version: int = request.param
    if version == 2:
        monkeypatch.setattr(stage, "dial", bridged)
    yield version

"""Whatever is sent to the admin API, valid by its document or not, is answered as the document says, and never by 5xx.

HEADGATE_SCHEMA_EXAMPLES says how many requests are made up for each operation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from headgate.control.admin.app import make_api, serve
from headgate.control.keys.sync import KeyPlace
from tests.control.admin.subject import TOKEN, Subject
from tests.control.admin.test_config import Filed
from tests.control.driver import CEILING

EXAMPLES = int(os.environ.get("HEADGATE_SCHEMA_EXAMPLES", "4"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
# It goes on until its reader leaves.
ENDLESS = "/api/v1/telemetry/stream"


class Running:
    """The admin application, served as control serves it, in a thread of its own."""

    def __init__(self, subject: Subject) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(serve(subject, [listening]))
        self._thread = threading.Thread(target=self._run, args=(listening,))
        self._thread.start()

    def _run(self, listening: socket.socket) -> None:
        with listening, contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(CEILING)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filed]:
    folder: Path = tmp_path_factory.mktemp("schema")
    made = Filed(folder)
    made.config = replace(made.config, state_dir=str(folder / "state"))
    made.parts.registrations.follow(made.config)
    made.parts.keys.current = KeyPlace(f"sqlite:///{folder}/keys.db", b"p" * 32, folder, 1 << 20, 1.0)
    yield made


@pytest.fixture(scope="module")
def running(subject: Filed) -> Iterator[Running]:
    server = Running(subject)
    yield server
    server.close()


def operations() -> Iterator[tuple[str, str]]:
    for path, methods in make_api(Filed.__new__(Filed)).openapi()["paths"].items():
        if path != ENDLESS:
            yield from ((method, path) for method in methods)


@pytest.fixture(scope="module")
def schema(running: Running) -> schemathesis.BaseSchema:
    document = httpx.get(f"{running.url}/openapi.json", headers=HEADERS, timeout=CEILING).json()
    return schemathesis.openapi.from_dict(document)


@pytest.mark.parametrize(("method", "path"), list(operations()))
def test_every_answer_is_documented(running: Running, schema: schemathesis.BaseSchema, method: str, path: str) -> None:
    operation = schema[path][method]

    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def ask(case: schemathesis.Case[Any]) -> None:
        answer = case.call(base_url=running.url, headers=HEADERS, allow_redirects=False, timeout=CEILING)
        case.validate_response(answer, checks=CHECKS)

    ask()


def test_the_document_says_how_to_be_let_in_and_every_answer_of_a_refusal(schema: schemathesis.BaseSchema) -> None:
    for path, methods in schema.raw_schema["paths"].items():
        for method, found in methods.items():
            assert {"401", "403", "421", "429"} <= set(found["responses"]), (method, path)
            assert found.get("description"), (method, path)

"""Which lines of the access log are written, and what is left out of them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headgate.proxy import access
from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import eventually, get
from tests.proxy.stage import gateway, on_loop, to


def logged(path: Path, **settings: Any) -> dict[str, Any]:
    return {"access_log": {"path": str(path), "format": "json", **settings}}


async def lines_of(document: dict[str, Any], path: Path, *requests: bytes, count: int | None = None) -> list[Any]:
    """Send the requests, and return the lines that are written of them."""
    async with gateway(document) as rig:
        for request in requests:
            await rig.ask(request)
        await eventually(lambda: rig.gateway.in_flight == 0)
    await eventually(lambda: count is None or len(path.read_bytes().splitlines()) >= count)
    return _read(path)


def _read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answering_with(status: int, path: str) -> dict[str, Any]:
    return {"name": f"r{status}", "match": {"path": path}, "respond": {"status": status}}


@pytest.mark.parametrize(
    ("level", "statuses"),
    [("info", [200, 302, 404, 418, 500]), ("warning", [404, 418, 500]), ("error", [500])],
)
@on_loop
async def test_a_level_leaves_lines_below_it_out(level: str, statuses: list[int], tmp_path: Path) -> None:
    path = tmp_path / "log"
    document = to("http://127.0.0.1:1", telemetry=logged(path, level=level))
    document["services"][0]["routes"] = [answering_with(each, f"/{each}") for each in (200, 302, 418, 500)]
    requests = [get(f"/{status}") for status in (200, 302, 404, 418, 500)]
    found = await lines_of(document, path, *requests, count=len(statuses))
    assert [each["status_code"] for each in found] == statuses


@on_loop
async def test_a_sample_is_of_what_went_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chances = iter([0.2, 0.5, 0.9, 0.49])
    monkeypatch.setattr(access, "random", SimpleNamespace(random=lambda: next(chances)))
    path = tmp_path / "log"
    document = to("http://127.0.0.1:1", telemetry=logged(path, sample=0.5))
    document["services"][0]["routes"] = [answering_with(200, "/x"), answering_with(500, "/bad")]
    targets = ("/x/1", "/bad", "/x/2", "/x/3", "/none", "/x/4")
    found = await lines_of(document, path, *map(get, targets), count=4)
    assert [each["path"] for each in found] == ["/x/1", "/bad", "/none", "/x/4"]


@on_loop
async def test_what_is_omitted_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fields = ("client", "host", "path", "identity", "tenant")
    telemetry = {**logged(path), "redact": dict.fromkeys(fields, "omit")}
    document = to(route={"respond": {"status": 200}, "auth": {}}, telemetry=telemetry)
    document["identity"] = keys(static("ada", tenant="acme"))
    # A client cannot have text of its own taken for a field: its quotes are escaped.
    sent = get("/x,%22client%22:%22%22", with_key("ada"), "X-Request-ID: ,client:")
    (line,) = await lines_of(document, path, sent, count=1)
    assert not set(line) & {*fields, "identity_kind"}
    assert (line["status_code"], line["route"]) == (200, "all")


@pytest.mark.parametrize("how", ["mask", "hash"])
@on_loop
async def test_what_is_masked_or_hashed_is_there_as_such(how: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    telemetry = {**logged(path), "redact": {"client": how, "identity": how}, "redact_key": "a key of sixteen"}
    document = to(route={"respond": {"status": 200}, "auth": {}}, telemetry=telemetry)
    document["identity"] = keys(static("ada", tenant="acme"))
    lines = await lines_of(document, path, *[get("/", with_key("ada"))] * 2, count=2)
    for name in ("client", "identity"):
        assert lines[0][name] == lines[1][name] not in ("127.0.0.1", "ada")
        assert (lines[0][name] == "***") == (how == "mask")
    assert {each["tenant"] for each in lines} == {"acme"}


@on_loop
async def test_lines_have_the_form_that_is_configured(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fields = {"fields": {"path": "{path}", "query": "{query}", "status": "{status_code}", "agent": "{user_agent}"}}
    document = to("http://127.0.0.1:1", telemetry=logged(path, fields=fields))
    document["services"][0]["routes"] = [answering_with(200, "/a")]
    (found,) = await lines_of(document, path, get("/a?limit=5&token=x", "User-Agent: curl/8"), count=1)
    assert found == {"fields": {"path": "/a", "query": "limit=5&token=***", "status": 200, "agent": "curl/8"}}


@on_loop
async def test_of_a_path_that_is_redacted_the_query_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    telemetry = logged(path, fields={"path": "{path}", "query": "{query}", "status": "{status_code}"})
    document = to("http://127.0.0.1:1", telemetry={**telemetry, "redact": {"path": "omit"}})
    document["services"][0]["routes"] = [answering_with(200, "/a")]
    assert await lines_of(document, path, get("/a?limit=5"), count=1) == [{"status": 200}]

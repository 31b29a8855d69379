"""api/: current, whole, and true of a gateway that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import openapi

API = Path(__file__).resolve().parents[2] / "api"
each_file = pytest.mark.parametrize(("name", "made"), [("openapi", openapi.public), ("admin", openapi.admin)])


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


@each_file
def test_it_is_current(name: str, made: Any) -> None:
    assert (API / f"{name}.yaml").read_text() == made(), "run scripts/generate_docs.py"


@each_file
def test_every_reference_leads_somewhere(name: str, made: Any) -> None:
    document = yaml.safe_load(made())
    assert document["openapi"].startswith("3.1")
    found = set(references(document))
    assert found
    for reference in found:
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]


def test_the_public_document_says_what_the_preset_answers() -> None:
    document = yaml.safe_load(openapi.public())
    assert list(document["paths"]) == ["/health", "/ready", "/metrics", "/v1/{service}/{path}"]
    assert set(document["components"]["schemas"]["Error"]["required"]) == {"error", "message", "code", "timestamp"}
    health = document["paths"]["/health"]["get"]["responses"]
    assert set(health) == {"200", "503"}
    schema = health["200"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["status", "timestamp", "version", "uptime"]
    assert schema["properties"]["uptime"] == {"type": "integer"}
    asked = document["paths"]["/v1/{service}/{path}"]["get"]
    assert {"200", "401", "404", "429", "502", "503", "504", "default"} <= set(asked["responses"])
    assert asked["security"] == [{"bearer": []}]
    limited = document["components"]["responses"]["rate_limited"]["headers"]
    assert set(limited) == {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"}

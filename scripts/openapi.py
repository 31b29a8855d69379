"""api/openapi.yaml and api/admin.yaml: what the public listener of the preset ai-edge answers, and the admin listener.

Law: all of it comes from the preset and from what the gateway says of itself; only what a field means is said here.
"""

from __future__ import annotations

import json
from typing import Any, Final, cast

import yaml

from headgate import __version__
from headgate.config.body_templates import Body
from headgate.config.declarations import Layer
from headgate.config.loader import load
from headgate.config.preset import preset_about, preset_source, preset_text
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.control.admin.app import make_api
from headgate.control.admin.subject import Subject
from headgate.control.surface import listed
from headgate.control.surface.answers import Item, compiled
from headgate.policy.pattern import PathPattern
from headgate.proxy.errors import ErrorShapes

PRESET: Final = "ai-edge"
_HEAD = "# Written by scripts/generate_docs.py. Do not edit.\n"
_SERVICE = "SERVICE"
_METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
# What a request can be refused for on its way to a service.
_REASONS = (
    *("bad_path", "missing_credentials", "route_not_found", "rate_limited"),
    *("connect_refused", "no_endpoint", "response_timeout"),
)
_LIMITED = {
    "Limit": "Requests that may be made at once, or in a window.",
    "Remaining": "Requests that are left.",
    "Reset": "When all of them are there again, in seconds since 1970.",
}
_MOMENT = 1_764_239_400.0
_SAMPLES: dict[str, dict[str, Any]] = {
    "health": {"status": "healthy", "timestamp": _MOMENT, "version": __version__, "uptime": {"seconds": 3600}},
    "ready": {"status": "ready", "ready": True, "dependency": "", "reason": ""},
}
_NOT_READY = {"status": "not_ready", "ready": False, "dependency": "redis", "reason": "dependency"}


def public() -> str:
    """Return the document of the public listener, as YAML."""
    config = _config()
    items = [
        Item(surface, route, compiled(surface))
        for surface, route in zip(config.surface, config.own_routes, strict=True)
    ]
    document = listed.document(items, config.admin.expose)
    document["info"] |= {"title": "AI API gateway", "description": preset_about(PRESET)}
    for item in items:
        _describe(item, document["paths"][item.surface.path])
    for route in config.routes:
        document["paths"] |= _service(route, config)
    document["components"] = {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        "schemas": {"Error": _schema(_error_sample(config))},
        "responses": _refusals(config),
        "headers": {f"X-RateLimit-{name}": _header(text) for name, text in _LIMITED.items()},
    }
    return _written(document)


def admin() -> str:
    """Return the document of the admin listener, as YAML; it is the one that it answers itself."""
    return _written(make_api(cast(Subject, None)).openapi())


def _written(document: dict[str, Any]) -> str:
    # Through JSON, so that nothing is written once and referred to.
    text: str = yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, width=120, allow_unicode=True)
    return _HEAD + text


def _config() -> ResolvedConfig:
    """Load the preset with a service in it."""
    service = {"services": [{"name": _SERVICE, "url": "http://127.0.0.1:1"}]}
    layers = [Layer(preset_source(PRESET), preset_text(PRESET), own=False), Layer("service", json.dumps(service))]
    result = load([], environ={"JWT_SECRET": "0123456789abcdef" * 4}, layers=layers)
    assert result.config is not None, result.problems
    return result.config


# -- own endpoints --------------------------------------------------------------------------------------------------


def _describe(item: Item, operations: dict[str, Any]) -> None:
    """Say what the answers of an own endpoint look like."""
    view, body = item.surface.view, item.body
    for said in operations.values():
        said["security"] = []
        responses = said["responses"]
        if view in _SAMPLES and body is not None:
            responses["200"]["content"] = _json(_sample(body, _SAMPLES[view]))
            if "503" in responses:
                missing = _NOT_READY if view == "ready" else _SAMPLES[view] | {"status": "unhealthy"}
                responses["503"]["content"] = _json(_sample(body, missing))
        elif view == "metrics":
            responses["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}


def _sample(body: Body, record: dict[str, Any]) -> Any:
    return json.loads(body.render(record))


def _json(sample: Any) -> dict[str, Any]:
    return {"application/json": {"schema": _schema(sample), "example": sample}}


def _schema(sample: Any) -> dict[str, Any]:
    if isinstance(sample, dict):
        properties = {name: _schema(value) for name, value in sample.items()}
        return {"type": "object", "required": list(sample), "properties": properties}
    return {"type": {bool: "boolean", int: "integer", float: "number"}.get(type(sample), "string")}


# -- services -------------------------------------------------------------------------------------------------------


def _service(route: ResolvedRoute, config: ResolvedConfig) -> dict[str, Any]:
    """Return the path of a route, with the parts that vary as parameters."""
    pattern = PathPattern(route.settings.match.path)
    path = f"{pattern.text.partition(' ')[2].replace(_SERVICE, '{service}')}/{{path}}"
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in (("service", "Name of a service."), ("path", "Path there; it may hold slashes."))
    ]
    shapes = ErrorShapes(config.errors)
    refusals = {str(shapes.status(reason)): {"$ref": f"#/components/responses/{reason}"} for reason in _REASONS}
    answers = {"200": {"description": "What the service answers"}, **refusals}
    operation = {
        "summary": "Ask a service",
        "description": "The request goes on with its query, its fields and its body, without the prefix of its path.",
        "security": [{"bearer": []}],
        "responses": {**answers, "default": {"description": "What the service answers, with a status of its own"}},
    }
    return {path: {"parameters": parameters, **dict.fromkeys(_METHODS, operation)}}


def _refusals(config: ResolvedConfig) -> dict[str, Any]:
    """Return what requests are refused with, by reason."""
    shapes = ErrorShapes(config.errors)
    content = {config.errors.content_type: {"schema": {"$ref": "#/components/schemas/Error"}}}
    found: dict[str, Any] = {reason: {"description": shapes.message(reason), "content": content} for reason in _REASONS}
    limited = {f"X-RateLimit-{name}": {"$ref": f"#/components/headers/X-RateLimit-{name}"} for name in _LIMITED}
    found["rate_limited"]["headers"] = {**limited, "Retry-After": _header("Seconds to wait.")}
    return found


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "integer"}}


def _error_sample(config: ResolvedConfig) -> Any:
    return json.loads(ErrorShapes(config.errors).body("missing_credentials", dict))

"""JSON Schema (2020-12) of the whole language, for editors: completion, help on hover, and checks while typing.

Law: it refuses nothing that the loader accepts. What only the loader can know (names that must exist, forms that
exclude each other) is not in it.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from headgate.config.schema import Config
from headgate.config.shape import Field, Shape, fields_of
from headgate.config.yaml_nodes import typed

ID = "urn:headgate:configuration"

_TYPES = {"text": ["string", "number", "boolean"], "integer": "integer", "number": "number", "boolean": "boolean"}
_VARIABLE = {"$ref": "#/$defs/variable"}
_CHOICE = {"$ref": "#/$defs/choice"}
_CONDITION = {"$ref": "#/$defs/condition"}
_WORDS = {
    "variable": {
        "type": "string",
        "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\*?[A-Za-z0-9_]*(:-[^}]*)?\}",
        "description": "An environment variable: ${NAME}, or ${NAME:-default}.",
    },
    "condition": {
        "description": "NAME, not NAME, {NAME: value}, {NAME: [values]}, or a list of such of which any holds.",
        "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}],
    },
    "choice": {
        "description": "A value under a condition, or one that a variable chooses.",
        "anyOf": [
            {
                "type": "object",
                "properties": {"when": _CONDITION, "value": {}},
                "required": ["when", "value"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"select": {"type": "string"}, "cases": {"type": "object"}, "else": {}},
                "required": ["select", "cases"],
                "additionalProperties": False,
            },
        ],
    },
}
# What may stand in any mapping, or in any item of a list (config.expansion).
_ANYWHERE = {
    "when": {"description": "Condition under which this is there at all.", **_CONDITION},
    "for_each": {
        "description": "Variables, one * in their name: this item once for each that is set.",
        "type": "string",
    },
}


def json_schema() -> dict[str, Any]:
    """Return the schema of a configuration file."""
    classes: dict[str, dict[str, Any]] = {}
    root = _class(Config, classes)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Headgate configuration",
        **root,
        "patternProperties": {"^x-": {"description": "Ignored: a place for anchors."}},
        "$defs": {**_WORDS, **dict(sorted(classes.items()))},
    }


def render_json_schema() -> str:
    """Return the text of docs/headgate.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _class(cls: type, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for field in fields_of(cls).values():
        schema = _property(field, classes)
        properties[field.name] = schema
        for alias in field.aliases:
            properties[alias] = {**schema, "description": f"Another spelling of {field.name}. {field.help}"}
    required = [field.name for field in fields_of(cls).values() if field.required]
    made = {"type": "object", "description": (cls.__doc__ or "").strip(), "properties": {**_ANYWHERE, **properties}}
    return {**made, **({"required": required} if required else {}), "additionalProperties": False}


def _property(field: Field, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    schema = _schema(field.shape, classes)
    if not field.required and schema:
        # An empty value means "as if not written".
        schema = _or(schema, {"type": "null"})
    schema = _or(schema, _CHOICE) if schema else schema
    default = plain_default(field.default)
    given = {"default": default} if not field.required and default not in (None, {}) else {}
    return {"description": field.help, **schema, **given}


def _or(schema: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*(schema["anyOf"] if set(schema) == {"anyOf"} else [schema]), *others]}


def plain_default(value: Any) -> Any:
    """Return a default as plain data; of a settings object only what differs from its own defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = fields_of(value.__class__)
        return {
            name: plain_default(getattr(value, field.attribute))
            for name, field in fields.items()
            if field.required or getattr(value, field.attribute) != field.default
        }
    if isinstance(value, list):
        return [plain_default(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _schema(shape: Shape, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if shape.kind == "any":
        return {}
    if shape.kind == "tagged":
        tags = [_tagged(tag, cls, classes) for tag, cls in shape.options.items()]
        return {"anyOf": [{"enum": list(shape.options)}, _VARIABLE, *tags]}
    if shape.kind == "settings" and shape.cls is not None:
        reference = _reference(shape.cls, classes)
        if shape.short is None:
            return reference
        return {"anyOf": [_schema(fields_of(shape.cls)[shape.short].shape, classes), reference]}
    if shape.kind == "table" and shape.item is not None:
        names = {"propertyNames": {"enum": list(shape.words)}} if shape.words else {}
        item = _schema(shape.item, classes)
        return {"type": "object", "additionalProperties": _or(item, _CHOICE) if item else item, **names}
    if shape.kind == "list" and shape.item is not None:
        item = _schema(shape.item, classes)
        listed = {"type": "array", "items": _or(item, _CHOICE, _VARIABLE) if item else item}
        return _or(listed, _VARIABLE, *([item] if shape.one_or_many else []))
    return _scalar(shape)


def _reference(cls: type, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if cls.__name__ not in classes:
        classes[cls.__name__] = {}
        classes[cls.__name__] = _class(cls, classes)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _tagged(tag: str, cls: type, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {**_reference(cls, classes), "required": ["type"], "properties": {"type": {"const": tag}}}


def _scalar(shape: Shape) -> dict[str, Any]:
    rules = shape.rules
    if shape.kind == "text" and shape.words:
        # Words such as 1.2 are numbers to YAML, and the loader reads them as the text they are.
        enum = [*shape.words, *(typed(word) for word in shape.words if not isinstance(typed(word), str))]
        return {"anyOf": [{"enum": enum}, _VARIABLE]}
    if shape.kind == "text":
        bounds = {"minLength": "min_length", "maxLength": "max_length"}
        return {"type": _TYPES["text"], **{name: rules[rule] for name, rule in bounds.items() if rule in rules}}
    bounds = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le"}
    limits = {name: rules[rule] for name, rule in bounds.items() if rule in rules}
    if shape.parsed is not None:
        forms = [{**each, **(limits if each["type"] != "string" else {})} for each in shape.parsed.json_type["anyOf"]]
    else:
        forms = [{"type": _TYPES[shape.kind], **limits}]
    words = [{"enum": list(shape.words)}] if shape.words else []
    return {"anyOf": [*forms, *words, _VARIABLE]}

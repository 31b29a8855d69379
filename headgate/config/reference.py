"""The reference page: every block of the language with its keys, defaults, bounds and an example.

Law: nothing here says what a setting does; that stands on the setting. The examples are configurations that load.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from headgate.config.examples import EXAMPLES
from headgate.config.json_schema import plain_default
from headgate.config.schema import Config
from headgate.config.shape import Field, Shape, expected, fields_of, limits

_NOUNS = {"text": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "any": "any"}
_INTRODUCTION = """\
<!-- Written by scripts/generate_docs.py from the settings classes. Do not edit. -->

# Configuration

Headgate reads YAML (JSON is a subset of it). `headgate check FILE` says what is wrong, `docs/headgate.schema.json`
lets an editor complete and check while you type: begin a file with
`# yaml-language-server: $schema=https://.../headgate.schema.json`, or with a path to that file.

## How it is read

- **Who wins**: options of the command line, then `--set`, then variables of the environment that a preset takes and
  that are set, then your files, the later ones first, then the preset, then the default. `headgate check --explain`
  prints the result and where each value came from.
- **Several files or folders** are merged in the order given; a folder means its `.yaml`, `.yml` and `.json` files,
  sorted by name, but none that begins with a dot. Mappings merge key by key; lists whose items all have a `name` merge
  by name; everything else of the later file replaces what the earlier one said. A mapping whose `type` is another one
  replaces the earlier one whole, and `url`, `endpoints` and `discovery` of a service replace each other.
- **A preset** is a configuration that comes with the package and lies below your files: `preset: NAME` at the top of a
  file, `--preset NAME`, or HEADGATE_PRESET. [Presets](presets.md) tells what there are.
- **`include: [{path: more.yaml, optional: true}]`** lays files over the one that names them. With `needs: services` one
  without services is an error, and at a reload changes nothing.
- **`--set KEY=VALUE`** wins over the files: `--set services.chat.timeout.connect=5`. Items of lists are addressed by
  their name or by their index from 0, also in brackets: `services[chat].routes[0].match.path`. The value is YAML.
- **Variables**: `${NAME}`, or `${NAME:-default}` for one that may be unset or empty, anywhere in a value; `$$` is a
  dollar sign. A variable that is not set and has no default is an error. Values of variables never appear in messages.
  A file `.env` in the folder the gateway is started in sets those that the environment does not.
- **`env:`** declares variables, by type, with a default: `env: {PORT: {type: int, default: 8080}}`. `${PORT}` is then
  that number, `${NAME}` of a list the list. `required` ones stop the start by their name, a `secret` one may be in a
  file that NAME_FILE names, and what does not work without one (`absent`) is said at the start. An empty variable
  counts as not set. Where none is set by a name in capitals, the same name in small letters counts. A warning names
  what is set and nearly a declared name, and what stands in `.env` and nothing reads.
- **`when:`** in any mapping makes it depend on declared variables: `when: NAME` (true, or not empty), `when: not NAME`,
  `when: {NAME: value}` or `{NAME: [values]}` (all of them; `null`: not set), a list of conditions (any of them). What
  does not hold is as if not written. `{when: NAME, value: X}` is X under a condition.
- **`{select: NAME, cases: {value: X}, else: Y}`** is what the variable chooses. What a case or `{when: NAME, value: X}`
  gives counts as the variable's, where that is set: it wins over your files, unless X is other variables, or null. Of a
  mapping that is chosen so its `type` does; what stands under `else` is the document's.
- **`for_each: UPSTREAM_*_URLS`** in an item of a list repeats it for each variable that is set and matches: `{each}` is
  the part for the `*` in lower case with dashes, `{EACH}` as it is, `${UPSTREAM_*_WEIGHTS}` the variable with the same
  part.
- **`service_defaults:`** lies under every service that does not say `use_defaults: false`; `{service}` in its texts is
  the service's name. **`service_overrides:`** lies over every service, whatever it says.
- **An unknown key is an error**, and so is a key that stands twice. Keys at the top that begin with `x-` are ignored:
  a place for anchors (`&name`, `*name`, `<<: *name`).
- **An empty value** (or `null`) means "as if not written".
- Only `true` and `false` are booleans: `on`, `yes` and `no` are text.
- **Seconds** are a number, or text such as `500ms`, `30s`, `5m`, `1h`, `1d`. **Bytes** are a whole number, or text
  such as `64KiB`, `10MiB`, `1GB`.
- `headers`, `timeout`, `retry`, `max_body`, `compression` and `answers` stand at the gateway, a service or a route: the
  nearest one counts, as a whole.
- Files that a configuration names (certificates, keys) are relative to the folder the gateway is started in.
"""


def render_reference() -> str:
    """Return the text of docs/configuration.md."""
    parts = [_INTRODUCTION, _short_forms(), "## The blocks\n", _block(Config, "")]
    parts += [_block(cls, ", ".join(places)) for cls, places in _blocks().items()]
    return "\n".join(parts)


def _blocks() -> dict[type, list[str]]:
    """List the classes below Config in the order they are met, with the places where they stand."""
    found: dict[type, list[str]] = {}

    def walk(cls: type, prefix: str) -> None:
        for field in fields_of(cls).values():
            for below, suffix in _classes_in(field.shape):
                place = f"{prefix}{field.name}{suffix}"
                places = found.setdefault(below, [])
                if place not in places:
                    places.append(place)
                walk(below, f"{place}.")

    walk(Config, "")
    return found


def _classes_in(shape: Shape) -> Iterator[tuple[type, str]]:
    if shape.cls is not None:
        yield shape.cls, ""
    for cls in shape.options.values():
        yield cls, ""
    if shape.item is not None:
        step = "[]" if shape.kind == "list" else ".*"
        for cls, suffix in _classes_in(shape.item):
            yield cls, f"{step}{suffix}"


def _short_forms() -> str:
    rows = ["## Short forms\n", "| instead of | write |", "|---|---|"]
    for cls in (Config, *_blocks()):
        for field in fields_of(cls).values():
            rows += [f"| {long} | {short} |" for long, short in _shorts(field)]
    rows += ["| `endpoints: [URL]` | `url: URL` |", "| `health: {path: PATH}` | `health_path: PATH` |"]
    return "\n".join(dict.fromkeys(rows)) + "\n"


def _shorts(field: Field) -> Iterator[tuple[str, str]]:
    shape = field.shape
    word = field.name.upper()
    if shape.short is not None:
        yield f"`{field.name}: {{{shape.short}: {word}}}`", f"`{field.name}: {word}`"
    if shape.one_or_many:
        yield f"`{field.name}: [{word}]`", f"`{field.name}: {word}`"
    if shape.kind == "tagged":
        yield f"`{field.name}: {{type: NAME}}`", f"`{field.name}: NAME`"
    item = shape.item
    if item is not None and item.short is not None:
        short = item.short.upper()
        if shape.kind == "list":
            yield f"`{field.name}: [{{{item.short}: {short}}}]`", f"`{field.name}: [{short}]`"
        else:
            yield f"`{field.name}: {{NAME: {{{item.short}: {short}}}}}`", f"`{field.name}: {{NAME: {short}}}`"
    for alias in field.aliases:
        yield f"`{field.name}: ...`", f"`{alias}: ...`"


def _block(cls: type, places: str) -> str:
    lines = [f"### {cls.__name__}\n"]
    if places:
        lines.append(f"At `{places.replace(', ', '`, `')}`.\n")
    lines += [(cls.__doc__ or "").strip() + "\n", "| key | takes | default | |", "|---|---|---|---|"]
    lines += [_row(field) for field in fields_of(cls).values()]
    example = EXAMPLES.get(cls.__name__)
    if example is not None:
        lines += ["", "```yaml", example.strip(), "```"]
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    default = "required" if field.required else _default(field)
    return f"| `{field.name}` | {_takes(field.shape)} | {default} | {field.help.replace('|', chr(92) + '|')} |"


def _default(field: Field) -> str:
    default = plain_default(field.default)
    if default in (None, {}, [], ""):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _takes(shape: Shape) -> str:
    words = ", ".join(f"`{word}`" for word in shape.words)
    if shape.kind == "tagged":
        return "one of " + ", ".join(f"[`{tag}`](#{cls.__name__.lower()})" for tag, cls in shape.options.items())
    if shape.kind == "settings" and shape.cls is not None:
        link = f"[{shape.cls.__name__}](#{shape.cls.__name__.lower()})"
        return f"{link}, or its `{shape.short}`" if shape.short is not None else link
    if shape.kind == "list" and shape.item is not None:
        return f"one or a list of {_takes(shape.item)}" if shape.one_or_many else f"list of {_takes(shape.item)}"
    if shape.kind == "table" and shape.item is not None:
        return f"{words or 'names'} to {_takes(shape.item)}"
    if shape.kind == "text" and words:
        return words
    noun = expected(shape).partition(" ")[0] if shape.parsed is not None else _NOUNS[shape.kind]
    bounds = limits(shape.rules)
    return " ".join(part for part in (noun, bounds, f"or {words}" if words else "") if part)

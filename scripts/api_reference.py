"""docs/api.md: the interfaces that others program against, made from signatures, docstrings and options.

Law: what is public has a docstring that says what it does; this page has no words of its own for it.
"""

from __future__ import annotations

import inspect
import re
from argparse import SUPPRESS, ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from headgate import asgi, circuit_breaker, client, plugin
from headgate.cli.arguments import Parser
from headgate.cli.main import COMMANDS

_HEAD = """\
# APIs

What others may build on. It is made from the code; what is not here may change without a word.

| interface | what it is for | where it is told |
|---|---|---|
| HTTP, public | own endpoints | [surface](surface.md), [edges](http-behaviour.md), [example](../api/openapi.yaml) |
| HTTP, admin | looking at a gateway, and steering it | [the admin API](admin.md), [all of it](../api/admin.yaml) |
| Python, client | the same from programs | [below](#the-python-client) |
| Python, breakers | a registry of breakers, as programs may know one | [below](#breakers) |
| Python, ASGI | the gateway under another server | [under uvicorn and its like](asgi.md), [below](#asgi) |
| Python, plugins | gates of one's own | [plugins](plugins.md), [below](#plugins) |
| command line | the same from a terminal, and before a start | [below](#the-command-line) |
| configuration | all else | [configuration](configuration.md), [JSON Schema](headgate.schema.json) |
"""


def render() -> str:
    """Return the page."""
    return "".join([_HEAD, *_client(), *_breakers(), *_asgi(), *_plugins(), *_commands()])


def _client() -> Iterator[str]:
    yield f"\n## The Python client\n\n`headgate.client`. {_words(client)}\n\n"
    for name, each in inspect.getmembers(client, inspect.isclass):
        if each.__module__ == client.__name__ and not name.startswith("_") and each is not client.Client:
            yield f"**`{name}`** {_words(each)}\n\n"
    yield f"**`{client.find_token.__name__}{_signature(client.find_token)}`** {_words(client.find_token)}\n\n"
    made = client.Client.__init__
    yield f"**`Client{_signature(made)}`** {_words(client.Client)} {_words(made)}\n\n"
    yield "| method | |\n|---|---|\n"
    for name, method in vars(client.Client).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            yield f"| `{_cell(name + _signature(method))}` | {_cell(_words(method))} |\n"


def _breakers() -> Iterator[str]:
    yield f"\n## Breakers\n\n`headgate.circuit_breaker`. {_words(circuit_breaker)}\n\n| name | |\n|---|---|\n"
    for name, each in inspect.getmembers(circuit_breaker, inspect.isclass):
        if each.__module__ == circuit_breaker.__name__:
            yield f"| `{_cell(name + _signature(each))}` | {_cell(_words(each))} |\n"
            for method, function in vars(each).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"| `{_cell(f'{name}.{method}{_signature(function)}')}` | {_cell(_words(function))} |\n"


def _asgi() -> Iterator[str]:
    yield f"\n## ASGI\n\n`headgate.asgi`. {_words(asgi)}\n\n"
    yield f"**`gateway{_signature(asgi.gateway)}`** {_words(asgi.gateway)}\n"


def _plugins() -> Iterator[str]:
    yield "\n## Plugins\n\nWhat plugins may import from `headgate.plugin`.\n\n| name | |\n|---|---|\n"
    for name in plugin.__all__:
        each = getattr(plugin, name)
        if inspect.isclass(each) or inspect.isfunction(each):
            yield f"| `{_cell(name + _shape(each))}` | {_cell(_words(each))} |\n"


def _commands() -> Iterator[str]:
    yield "\n## The command line\n\n"
    yield "Exit status: 0 it went well, 1 the configuration or the start did not, 2 the command line is wrong.\n"
    for name, sentence in COMMANDS.items():
        parser = Parser(prog=f"headgate {name}", description=sentence)
        import_module(f"headgate.cli.{name}").add_arguments(parser)
        yield f"\n### headgate {name}\n\n{sentence[0].upper()}{sentence[1:]}.\n"
        yield from _options(parser)


def _options(parser: ArgumentParser) -> Iterator[str]:
    rows = [each for each in parser._actions if each.dest != "help" and each.help != SUPPRESS]
    plain = [each for each in rows if not isinstance(each, _SubParsersAction)]
    if plain:
        yield "\n| argument | |\n|---|---|\n"
    for each in plain:
        value = each.metavar if isinstance(each.metavar, str) else ""
        shown = f"{', '.join(each.option_strings)} {value}".strip() or each.dest.upper()
        yield f"| `{_cell(shown)}` | {_cell(' '.join((each.help or '').split()))} |\n"
    for each in rows:
        if isinstance(each, _SubParsersAction):
            for action in each.choices.values():
                yield f"\n**`{action.prog}`** {action.description or ''}\n"
                yield from _options(action)


def _shape(each: object) -> str:
    """Return the parameters of a class whose constructor is told by its fields, or of a function."""
    return _signature(each) if hasattr(each, "_fields") or inspect.isfunction(each) else ""


def _signature(each: object) -> str:
    """Return the parameters as one calls them, not as they are defined."""
    assert callable(each)
    signature = inspect.signature(each)
    shown = []
    keyword_only = False
    for name, parameter in signature.parameters.items():
        if name in ("self", "_cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            shown.append("*")
        positional, keyword = parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD
        stars = "*" if parameter.kind is positional else "**" if parameter.kind is keyword else ""
        keyword_only = keyword_only or stars == "*"
        shown.append(f"{stars}{name}: {_type(parameter.annotation)}{_default(parameter.default)}")
    returned = _type(signature.return_annotation)
    arrow = "" if returned in ("None", "") or inspect.isclass(each) else f" -> {returned}"
    return f"({', '.join(shown)}){arrow}"


def _type(annotation: object) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return str(getattr(annotation, "__forward_arg__", None) or annotation)


def _default(value: object) -> str:
    """Return how a default is shown: what is no plain value, such as the environment of whoever asks, is left open."""
    if value is inspect.Parameter.empty:
        return ""
    plain = value is None or isinstance(value, bool | int | float | str | bytes) or value in ({}, ())
    return f" = {value!r}" if plain else " = ..."


def _words(each: object | ModuleType) -> str:
    """Return a docstring as one paragraph, without examples; the errors it lists as a sentence."""
    paragraphs = (inspect.getdoc(each) or "").split("\n\n")
    told = (part for part in paragraphs if not part.startswith("    ") and not part.rstrip().endswith("::"))
    text = " ".join(re.sub(r"^(Raises|Args):\n", r"\1: ", part) for part in told)
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

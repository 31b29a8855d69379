"""`headgate completion`: what a shell needs to complete the commands, their actions and options.

    bash    eval "$(headgate completion bash)", or into /etc/bash_completion.d/headgate
    zsh     headgate completion zsh > a folder of $fpath/_headgate
    fish    headgate completion fish > ~/.config/fish/completions/headgate.fish

Law: the script is made of the parsers themselves and names every word, so a shell starts no Python to complete one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from typing import Final, NamedTuple

from headgate.cli.arguments import Namespace, OneOf, Parser
from headgate.cli.main import COMMANDS
from headgate.config.preset import preset_names

SHELLS: Final = ("bash", "zsh", "fish")


class Option(NamedTuple):
    """One option, under all of its names; `value` is empty when it takes none."""

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str


class Words(NamedTuple):
    """What may follow a command, or a command and its action; an action that is a mere word has no help of its own."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    actions: tuple[str, ...]
    choices: tuple[str, ...]
    files: bool


def add_arguments(parser: Parser) -> None:
    """Add the argument."""
    parser.add_argument("name", metavar="SHELL", type=OneOf("shell", SHELLS), help="bash, zsh or fish")


def run(arguments: Namespace) -> int:
    """Print the script; return 0."""
    everything = list(all_words())
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.name](everything), end="")
    return 0


def all_words() -> Iterator[Words]:
    """Yield what may follow each command and each action, in the order of the help."""
    for name, summary in COMMANDS.items():
        parser = Parser(prog=f"headgate {name}", description=summary)
        import_module(f"headgate.cli.{name}").add_arguments(parser)
        yield from _words((name,), summary, parser)


def _words(path: tuple[str, ...], summary: str, parser: argparse.ArgumentParser) -> Iterator[Words]:
    options: list[Option] = []
    below: dict[str, argparse.ArgumentParser] = {}
    helps: dict[str, str] = {}
    actions: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    files = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = dict(action.choices)
            helps = {each.dest: each.help or "" for each in action._choices_actions}
        elif action.option_strings and action.help != argparse.SUPPRESS:
            value = "" if action.nargs == 0 else str(action.metavar or action.dest).upper()
            known = tuple(preset_names() if action.dest == "preset" else map(str, action.choices or ()))
            options.append(Option(tuple(action.option_strings), value, known, action.help or ""))
        elif isinstance(action.type, OneOf) and action.dest == "action":
            actions = action.type.words
        elif isinstance(action.type, OneOf):
            choices = action.type.words
        elif path == ("preset", "show"):
            choices = tuple(preset_names())
        elif action.metavar == "CONFIG":
            files = True
    yield Words(path, summary, tuple(options), (*below, *actions), choices, files)
    for name in actions:
        yield Words((*path, name), "", tuple(options), (), (), False)
    for name, each in below.items():
        yield from _words((*path, name), helps.get(name, ""), each)


# -- the scripts ---------------------------------------------------------------------------------------------------


def _bash(everything: list[Words]) -> str:
    cases = []
    for each in everything:
        names = [name for option in each.options for name in option.names]
        words = " ".join([*each.actions, *each.choices, *names])
        cases.append(f'        "{" ".join(each.path)}") words="{words}" ;;')
    actions = " | ".join(f'"{" ".join(each.path)}"' for each in everything if len(each.path) > 1)
    return f"""\
# Completion of headgate for bash.
_headgate() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]:-}} words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$word"))
        return
    fi
    case "$before" in
{chr(10).join(_bash_values(everything))}
        {"|".join(_takers(everything))}) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    if [ "$COMP_CWORD" -gt 2 ]; then
        case "$command ${{COMP_WORDS[2]}}" in
            {actions or '""'}) command="$command ${{COMP_WORDS[2]}}" ;;
        esac
    fi
    case "$command" in
{chr(10).join(cases)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [ "${{#COMPREPLY[@]}}" -eq 0 ]; then COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _headgate headgate
"""


def _bash_values(everything: list[Words]) -> list[str]:
    found = {name: option.choices for each in everything for option in each.options for name in option.names}
    return [
        f'        {name}) COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$word")); return ;;'
        for name, choices in sorted(found.items())
        if choices
    ]


def _zsh(everything: list[Words]) -> str:
    commands = "\n".join(f"        {_quoted(f'{name}:{summary}')}" for name, summary in COMMANDS.items())
    cases = []
    for each in everything:
        specs = [_zsh_option(option) for option in each.options]
        if each.actions:
            specs += [f"'2:action:({' '.join(each.actions)})'"]
        elif each.choices:
            specs.append(f"'*:value:({' '.join(each.choices)})'")
        else:
            specs.append("'*:file:_files'")
        joined = " \\\n            ".join(specs)
        cases.append(f'        "{" ".join(each.path)}") _arguments \\\n            {joined} ;;')
    actions = "|".join(f'"{" ".join(each.path)}"' for each in everything if len(each.path) > 1)
    return f"""\
#compdef headgate
# Completion of headgate for zsh.
_headgate() {{
    local command=${{words[2]}}
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe -t commands command commands
        return
    fi
    if (( CURRENT > 3 )); then
        case "$command ${{words[3]}}" in
            {actions}) command="$command ${{words[3]}}" ;;
        esac
    fi
    case "$command" in
{chr(10).join(cases)}
    esac
}}
if [ "$funcstack[1]" = "_headgate" ]; then _headgate "$@"; else compdef _headgate headgate; fi
"""


def _zsh_option(option: Option) -> str:
    names = f"({' '.join(option.names)})" if len(option.names) > 1 else ""
    spelled = "{" + ",".join(option.names) + "}" if len(option.names) > 1 else option.names[0]
    told = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    after = f":{option.value.lower()}:" if option.value else ""
    after += f"({' '.join(option.choices)})" if option.choices else "_files" if option.value else ""
    return f"{_quoted(names)}{spelled}{_quoted(f'[{told}]{after}')}"


def _fish(everything: list[Words]) -> str:
    lines = ["# Completion of headgate for fish.", "complete -c headgate -f"]
    no_command = "__fish_use_subcommand"
    lines += [f"complete -c headgate -n {no_command} -a {name} -d {_quoted(told)}" for name, told in COMMANDS.items()]
    lines += [f"complete -c headgate -n {no_command} -l help", f"complete -c headgate -n {no_command} -l version"]
    helps = {each.path: each.help for each in everything}
    for each in everything:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in each.path)
        if each.actions:
            unseen = f"{seen}; and not __fish_seen_subcommand_from {' '.join(each.actions)}"
            lines += [
                f"complete -c headgate -n {_quoted(unseen)} -a {name}{_fish_told(helps[(*each.path, name)])}"
                for name in each.actions
            ]
        if each.choices:
            lines.append(f"complete -c headgate -n {_quoted(seen)} -a {_quoted(' '.join(each.choices))}")
        if each.files:
            lines.append(f"complete -c headgate -n {_quoted(seen)} -F")
        for option in each.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            takes = (
                f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else " -r -F" if option.value else ""
            )
            lines.append(f"complete -c headgate -n {_quoted(seen)} {names}{takes} -d {_quoted(option.help)}")
    return "\n".join(lines) + "\n"


def _fish_told(told: str) -> str:
    return f" -d {_quoted(told)}" if told else ""


def _takers(everything: list[Words]) -> list[str]:
    """Return the options that a value follows."""
    found = {name for each in everything for option in each.options if option.value for name in option.names}
    return sorted(found)


def _quoted(text: str) -> str:
    """Quote it for any of the three; nothing stays nothing."""
    return "'" + text.replace("'", "'\\''") + "'" if text else ""

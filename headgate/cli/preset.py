"""`headgate preset`: the presets that come with the package, and what is in them."""

from __future__ import annotations

import json
import sys

from headgate.cli.arguments import Namespace, Parser, add_json
from headgate.cli.terminal import table
from headgate.config.preset import preset_about, preset_names, preset_source, preset_text


def add_arguments(parser: Parser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the presets", description="List the presets.")
    add_json(listing)
    show = actions.add_parser("show", help="print a preset, to copy and edit", description="Print a preset.")
    show.add_argument("name", metavar="NAME", help="the preset")
    show.add_argument("--env", action="store_true", help="print the variables it reads, as a file .env")


def run(arguments: Namespace) -> int:
    """Print; return 0, or 1 when there is no such preset."""
    if arguments.action == "list":
        found = {name: preset_about(name) for name in preset_names()}
        print(json.dumps(found, indent=2) if arguments.json else table(("PRESET", "ABOUT"), list(found.items())))
        return 0
    try:
        text = preset_text(arguments.name)
    except ValueError as error:
        print(f"headgate preset: {error}", file=sys.stderr)
        return 1
    if arguments.env:
        # With it comes the library that reads YAML.
        from headgate.config.declarations import env_example

        text = env_example(text, preset_source(arguments.name))
    print(text, end="")
    return 0

"""`headgate schema`: the JSON Schema of the configuration, for editors."""

from __future__ import annotations

import sys

from headgate.cli.arguments import Namespace, Parser
from headgate.config.json_schema import render_json_schema


def add_arguments(parser: Parser) -> None:
    """Say how an editor uses it; there are no options."""
    parser.epilog = (
        "Editors with the YAML language server complete and check a file whose first line is\n"
        "  # yaml-language-server: $schema=./headgate.schema.json\n"
        "with the schema beside it: headgate schema > headgate.schema.json"
    )


def run(_arguments: Namespace) -> int:
    """Print the schema."""
    sys.stdout.write(render_json_schema())
    return 0

"""What a command line means by its configuration: files, a preset below them, and the variables of .env.

Laws: .env is read by commands that load a configuration, never by those that only ask a running gateway: whoever put it
into this folder would choose who is told the token. In a folder where everybody may write, another user's is refused.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

from headgate.cli.arguments import DEFAULT_FILE, Namespace
from headgate.config.preset import VARIABLE, preset_names, preset_source, preset_text

DOTENV = ".env"
_LARGEST = 1 << 20
_UNREADABLE = "this cannot be read, and is passed over - write NAME=value, and close what a quotation mark opens"
_NOTHING = f"""\
No configuration was named, and there is no {DEFAULT_FILE} in this folder.
Write one; the smallest that does something is:

    services:
      - name: hello
        url: http://127.0.0.1:9000
        routes:
          - name: everything

`headgate preset list` shows some to begin with (--preset {{preset}}), `headgate demo` a larger one at work."""


class Sources(NamedTuple):
    """Files and folders, the documents below them as (name, YAML text), and the variables of .env by name."""

    paths: list[Path]
    presets: tuple[tuple[str, str], ...]
    dotenv: frozenset[str]


def sources_of(arguments: Namespace) -> Sources | None:
    """Return what the command line names, else the default file; None when there is nothing, which has been said."""
    try:
        dotenv = take_dotenv(os.environ)
        name = arguments.preset or os.environ.get(VARIABLE, "")
        presets = ((preset_source(name), preset_text(name)),) if name else ()
    except ValueError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return None
    paths = arguments.config or [path for path in (Path(DEFAULT_FILE),) if path.exists()]
    if not paths and not presets:
        print(_NOTHING.format(preset=preset_names()[0]), file=sys.stderr)
        return None
    return Sources(paths, presets, dotenv)


def take_dotenv(environ: MutableMapping[str, str], folder: Path = Path()) -> frozenset[str]:
    """Set the variables of .env that the environment does not have; return the names of those.

    A line that is none is passed over, as everybody does who reads such files, and said.

    Raises:
        ValueError: the file cannot be read; the sentence says why.
    """
    file = folder / DOTENV
    if not file.is_file():
        return frozenset()
    from dotenv.parser import parse_stream

    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"{DOTENV} cannot be read: it is larger than {_LARGEST // 1024} KiB")
        if _may_be_planted(file):
            raise ValueError(f"{DOTENV} belongs to another user, and everybody may write into this folder: remove it")
        with file.open(encoding="utf-8-sig") as opened:
            lines = list(parse_stream(opened))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{DOTENV} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from None
    for each in lines:
        if each.error:
            # What stands there may be a secret.
            blank = each.original.string[: -len(each.original.string.lstrip())].count("\n")
            print(f"{DOTENV}:{each.original.line + blank}: warning: {_UNREADABLE}", file=sys.stderr)
    found = {each.key: each.value for each in lines if each.key is not None}
    values = {name: value for name, value in found.items() if value is not None and "\0" not in value}
    before = {*environ, *(name.upper() for name in environ)}
    # Whoever names a file in the environment means its secret, and not the one that stands here.
    fresh = {name for name in values if not {name, f"{name}_FILE", f"{name.upper()}_FILE"} & before}
    environ.update({name: values[name] for name in fresh})
    return frozenset(fresh)


def _may_be_planted(file: Path) -> bool:
    """Tell whether somebody may have put this here for us to read: it is not ours, where everybody may put things."""
    owners = {file.stat().st_uid, file.lstat().st_uid} - {0, os.geteuid()}
    return bool(owners) and bool(file.absolute().parent.stat().st_mode & stat.S_IWOTH)

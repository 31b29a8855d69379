"""Every command of ours that a page shows is one that there is, with options that it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from headgate.cli.arguments import Namespace, Parser
from headgate.cli.main import COMMANDS
from tests.docs.test_examples import PAGES, ROOT

_BLOCK = re.compile(r"^ *```(?:sh|bash|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# In the middle of a sentence, the whole of a piece of code; a usage with brackets says what may stand there.
_INLINE = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+ )*headgate [^`\[\]]+)`(?!`)")
_UNFINISHED = re.compile(r"are required: |an action is missing: |expected \w+ arguments?|got \"(\.\.\.|…)\"")
# Where the shell begins another command, or sends what this one says elsewhere.
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", ")"}


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words behind `headgate` of each command in the blocks of a page."""
    text = page.read_text()
    for block in [*_BLOCK.findall(text), *_INLINE.findall(text)]:
        for line in block.replace("\\\n", " ").splitlines():
            for found in re.finditer(r"(?:^|[\s(\"])headgate (?=[a-z])", line.removeprefix("$ ")):
                lexer = shlex.shlex(line.removeprefix("$ ")[found.end() :], posix=True, punctuation_chars="|&;<>()")
                lexer.whitespace_split = True
                words: list[str] = []
                try:
                    for word in lexer:
                        if word in _ENDS:
                            break
                        words.append(word)
                except ValueError:
                    # A quotation that began before the command, as in "$(headgate token)".
                    pass
                # What goes to a file of a number, as in 2> /dev/null.
                yield words[:-1] if words and words[-1] == "2" else words


SHOWN = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, words in enumerate(commands(page))
]


@pytest.mark.parametrize("words", SHOWN)
def test_a_command_is_understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert words[0] in COMMANDS, words
    parser = Parser(prog=f"headgate {words[0]}", description="")
    import_module(f"headgate.cli.{words[0]}").add_arguments(parser)
    try:
        parser.parse_args(words[1:], namespace=Namespace())
    except SystemExit as end:
        said = capsys.readouterr().err
        # A sentence may name a command without all that it needs.
        assert end.code == 0 or _UNFINISHED.search(said), f"headgate {shlex.join(words)}: {said}"


def test_there_are_many() -> None:
    assert len(SHOWN) > 150

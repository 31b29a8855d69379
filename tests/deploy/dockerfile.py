"""Reads a Dockerfile as far as ours goes: stages, and the instructions of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from tests.deploy.installed import ROOT

FILE = ROOT / "Dockerfile"


class Instruction(NamedTuple):
    """One instruction, its continued lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The exec form of a command."""
        found: list[str] = json.loads(self.text[self.text.index("[") :])
        return found


def stages(path: Path = FILE) -> list[list[Instruction]]:
    """Return the instructions of each stage; what stands before the first FROM is the first of them."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    found: list[list[Instruction]] = [[]]
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line:
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, rest.strip()))
    return found


class Image(NamedTuple):
    """What the last stage says of a container."""

    entrypoint: list[str]
    command: list[str]
    health: list[str]
    environ: dict[str, str]
    user: str
    folder: str


def image(preset: str = "") -> Image:
    """Return it, as built with that PRESET."""
    last = stages()[-1]

    def only(name: str) -> Instruction:
        (found,) = [each for each in last if each.name == name]
        return found

    pairs = re.findall(r"(\w+)=(\S+)", only("ENV").text)
    environ = {name: value.replace("${PRESET}", preset) for name, value in pairs}
    return Image(
        only("ENTRYPOINT").words,
        only("CMD").words,
        only("HEALTHCHECK").words,
        environ,
        only("USER").text,
        only("WORKDIR").text,
    )

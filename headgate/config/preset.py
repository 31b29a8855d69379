"""Presets: configurations that come with the package, to be used as they are, below one's own file, or as a beginning.

Law: a preset is a configuration file and nothing else; nobody asks which one it is.
"""

from __future__ import annotations

from pathlib import Path

from headgate.config.problems import did_you_mean

VARIABLE = "HEADGATE_PRESET"
_FOLDER = Path(__file__).with_name("presets")


def preset_names() -> list[str]:
    """List the presets there are."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def preset_text(name: str) -> str:
    """Return a preset as it is written.

    Raises:
        ValueError: there is none of this name; the sentence says which there are.
    """
    if name not in preset_names():
        raise ValueError(f'there is no preset "{name}": {did_you_mean(name, preset_names())}')
    return (_FOLDER / f"{name}.yaml").read_text("utf-8")


def preset_about(name: str) -> str:
    """Return what a preset says of itself: its first line of comment."""
    return preset_text(name).partition("\n")[0].lstrip("# ")


def preset_source(name: str) -> str:
    """Name a preset as a place in which values stand."""
    return f"preset {name}"

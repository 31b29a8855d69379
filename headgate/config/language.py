"""Settings of the language itself: the variables that a configuration takes, and the files that it includes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from headgate.core.settings import OneOrMany, setting, settings


@settings
class Variable:
    """One variable of the environment: ${NAME} stands for its value, as its type says.

    A name with one * declares all variables that match it, for `for_each`.
    """

    type: Literal["text", "bool", "int", "number", "duration", "size", "list", "url", "enum"] = setting(
        default="text",
        help="How its text is read. duration: 30, 30s, 1m30s; size: 64KiB; list: by commas, or a JSON list; bool: true,"
        " yes, on, 1 and their opposites.",
    )
    values: list[str] = setting(default=list, help="Of an enum: what it may be; it is compared without case.")
    default: Any = setting(default=None, help="What it is where it is not set, or empty.")
    required: Any = setting(
        default=False, help="Refuse to start without it: true, or a condition as `when` takes it.", repr=False
    )
    secret: bool = setting(
        default=False, help="Never show its value; NAME_FILE may then name a file that holds it, in place of NAME."
    )
    absent: str | None = setting(
        default=None, help="What does not work without it; said once at the start where it is not set."
    )
    absent_when: Any = setting(
        default=None, help="Say so only where this holds: a condition as `when` takes it.", repr=False
    )
    unused: str | None = setting(
        default=None, help="Why it has no effect, of a name that people know; said once at the start where it is set."
    )
    aliases: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Other names of it; its own name goes before them."
    )
    help: str = setting(default="", help="One sentence for whoever sets it.")


@settings
class Include:
    """A file whose content is laid over this one. A bare string is the path."""

    path: str = setting(help="Path of the file, from the folder the gateway is started in.", min_length=1)
    optional: bool = setting(
        default=False, help="Go on without it where there is no such file, unless a variable that is set names it."
    )
    needs: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Keys that it must have: a file that is empty by mistake takes nothing away."
    )

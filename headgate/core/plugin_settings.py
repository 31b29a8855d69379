"""How a plugin is registered."""

from __future__ import annotations

from typing import Any, Literal

from headgate.core.settings import setting, settings


@settings
class PluginSetting:
    """One plugin: a Python class with hooks for requests and answers (docs/plugins.md)."""

    name: str | None = setting(default=None, help="Name in logs and metrics; the class's by default.", max_length=100)
    module: str = setting(help="Module to import, such as my_company.gateway.", min_length=1)
    class_: str = setting(help="Class in it.", aliases=("class",), min_length=1)
    config: dict[str, Any] = setting(default=dict, help="What the class is made with.")
    on_error: Literal["closed", "open"] = setting(
        default="closed", help="When it raises: closed: 500, open: as if it had let the request pass."
    )

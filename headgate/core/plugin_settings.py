"""How a plugin is registered."""

from __future__ import annotations

from typing import Any, Literal

from headgate.core.settings import setting, settings


@settings
class PluginSetting:
    """One plugin: a Python class with hooks for requests and answers (docs/plugins.md)."""

    name: str | None = setting(default=None, help="Name in logs and metrics; the class's by default.", max_length=100)
    module: str = setting(
        help="Module to import, such as my_company.gateway: installed, in PYTHONPATH, or in the folder headgate is"
        " started in.",
        min_length=1,
    )
    class_: str = setting(help="Class in it, derived from headgate.plugin.Plugin.", min_length=1)
    config: dict[str, Any] = setting(
        default=dict, help="What the class is made with; it may say itself which keys and types.", secret=True
    )
    on_error: Literal["closed", "open"] = setting(
        default="closed", help="When a hook raises or gives no verdict: closed: 500, open: as if it had passed."
    )

"""Header fields that tell browsers to be careful, written out.

What the presets say is what OWASP advises for services that answer programs (api) and pages (web); the help of the
settings tells what each field does. An empty text is no field.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.core.message import Fields
from headgate.policy.hygiene_settings import Hsts, SecurityHeaders

_NO_SENSORS = (
    "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()"
)


class Preset(NamedTuple):
    """What holds for all that is not written; empty: no such field."""

    hsts: Hsts | None
    content_security_policy: str
    frame_options: str
    content_type_options: bool
    referrer_policy: str
    permissions_policy: str


PRESETS = {
    "api": Preset(Hsts(), "default-src 'none'; frame-ancestors 'none'", "DENY", True, "no-referrer", _NO_SENSORS),
    "web": Preset(
        Hsts(),
        "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; object-src 'none'",
        "SAMEORIGIN",
        True,
        "strict-origin-when-cross-origin",
        _NO_SENSORS,
    ),
    "none": Preset(None, "", "", False, "", ""),
}


def security_fields(settings: SecurityHeaders, secure: bool) -> Fields:
    """Return the fields; `secure`: of an answer over HTTPS."""
    preset = PRESETS[settings.preset]
    texts = (
        ("Strict-Transport-Security", _transport(settings, secure)),
        ("Content-Security-Policy", _chosen(settings.content_security_policy, preset.content_security_policy)),
        ("X-Frame-Options", _chosen(settings.frame_options, preset.frame_options)),
        ("X-Content-Type-Options", _nosniff(settings.content_type_options, preset.content_type_options)),
        ("Referrer-Policy", _chosen(settings.referrer_policy, preset.referrer_policy)),
        ("Permissions-Policy", _chosen(settings.permissions_policy, preset.permissions_policy)),
        ("X-XSS-Protection", settings.xss_protection),
        ("Cross-Origin-Opener-Policy", settings.cross_origin_opener_policy),
        ("Cross-Origin-Resource-Policy", settings.cross_origin_resource_policy),
    )
    return [(name.encode(), text.encode()) for name, text in texts if text]


def transport_of(settings: SecurityHeaders) -> Hsts | None:
    """Return what is said of Strict-Transport-Security, the preset's if nothing is written."""
    if settings.hsts == "off":
        return None
    return settings.hsts if settings.hsts is not None else PRESETS[settings.preset].hsts


def _transport(settings: SecurityHeaders, secure: bool) -> str:
    hsts = transport_of(settings)
    # RFC 6797 section 7.2: it MUST NOT stand on responses conveyed over non-secure transport.
    if hsts is None or not (secure or hsts.over == "always"):
        return ""
    return f"max-age={hsts.max_age:.0f}{'; includeSubDomains' * hsts.subdomains}{'; preload' * hsts.preload}"


def _chosen(written: str | None, preset: str) -> str:
    return preset if written is None else written


def _nosniff(written: bool | None, preset: bool) -> str:
    return "nosniff" if (preset if written is None else written) else ""

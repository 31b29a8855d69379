"""Security headers: what the presets say, and what stands in their place."""

from __future__ import annotations

import pytest

from headgate.policy.hygiene_settings import Hsts, SecurityHeaders
from headgate.policy.security_headers import PRESETS, security_fields


def told(settings: SecurityHeaders, secure: bool = True) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in security_fields(settings, secure)}


def test_the_preset_for_programs() -> None:
    assert told(SecurityHeaders()) == {
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(),"
        " microphone=(), payment=(), usb=()",
    }


def test_the_preset_for_pages() -> None:
    pages = told(SecurityHeaders(preset="web"))
    assert pages["Content-Security-Policy"].startswith("default-src 'self';")
    assert pages["X-Frame-Options"] == "SAMEORIGIN"
    assert pages["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert pages.keys() == told(SecurityHeaders()).keys()


def test_the_empty_preset() -> None:
    assert told(SecurityHeaders(preset="none")) == {}


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_written_stands_in_place_of_the_preset(preset: str) -> None:
    settings = SecurityHeaders(
        preset=preset,  # type: ignore[arg-type]
        hsts=Hsts(max_age=63_072_000.0, subdomains=False, preload=True),
        content_security_policy="default-src 'self'",
        frame_options="DENY",
        content_type_options=True,
        referrer_policy="strict-origin",
        permissions_policy="camera=()",
        xss_protection="1; mode=block",
        cross_origin_opener_policy="same-origin",
        cross_origin_resource_policy="same-site",
    )
    assert told(settings) == {
        "Strict-Transport-Security": "max-age=63072000; preload",
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin",
        "Permissions-Policy": "camera=()",
        "X-XSS-Protection": "1; mode=block",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-site",
    }


def test_an_empty_text_is_no_field() -> None:
    settings = SecurityHeaders(
        hsts="off",
        content_security_policy="",
        frame_options="",
        content_type_options=False,
        referrer_policy="",
        permissions_policy="",
    )
    assert told(settings) == {}


@pytest.mark.parametrize(
    ("hsts", "secure", "expected"),
    [
        (None, True, "max-age=31536000; includeSubDomains"),
        (None, False, None),
        (Hsts(), False, None),
        (Hsts(over="always", max_age=0.0), False, "max-age=0; includeSubDomains"),
        ("off", True, None),
    ],
)
def test_transport_security_is_told_over_https(hsts: Hsts | None, secure: bool, expected: str | None) -> None:
    assert told(SecurityHeaders(hsts=hsts), secure).get("Strict-Transport-Security") == expected

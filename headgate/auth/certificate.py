"""Client certificates as identity: whom the handshake has verified, read from what the wire says of the certificate.

The credential is JSON: {"expires": seconds, "fingerprint": SHA-256 of the DER in hexadecimal, "subject": [[[name,
value], ...], ...], "names": [[kind, value], ...]}, subject and alternative names as Python's ssl module gives them.

Laws:
- A certificate that was good when its connection began ends at its notAfter, connection or not.
- What says two things at once (two common names, two organizations) says nothing: the holder is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from headgate.auth.method import Judged, Known, Refused
from headgate.auth.settings import CertificateRule, Certificates
from headgate.core.identity import Identity
from headgate.core.message import RequestHead

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST_ID = 1024
_NAME_KINDS = {"dns": "DNS", "uri": "URI", "email": "email"}
_TENANTS = {"organization": "organizationName", "organizational_unit": "organizationalUnitName"}
# RFC 4514 section 3: the short names that everybody knows.
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
# RFC 4514 section 2.4: what is escaped anywhere, in front and at the end.
_SPECIAL = re.compile(r'^[ #]|[,+"\\<>;]| $')


class _Certificate(NamedTuple):
    """What the credential says."""

    expires: float
    fingerprint: str
    subject: tuple[tuple[tuple[str, str], ...], ...]
    names: tuple[tuple[str, str], ...]

    def attributes(self, name: str) -> list[str]:
        """Return all values of an attribute of the subject."""
        return [value for part in self.subject for key, value in part if key == name]

    def alternatives(self, kind: str) -> list[str]:
        """Return the alternative names of a kind, in order."""
        return [value for key, value in self.names if key == kind]

    def distinguished_name(self) -> str:
        """Write the subject as RFC 4514 section 2.1 says: its last part first."""
        return ",".join("+".join(map(_attribute, part)) for part in reversed(self.subject) if part)


class CertificateMethod:
    """Whoever shows a certificate of the authorities that the listener trusts."""

    kind = "certificate"
    challenge = ""
    in_headers = False

    __slots__ = ("_settings", "name")

    def __init__(self, settings: Certificates) -> None:
        self.name = settings.name
        self._settings = settings

    def find(self, head: RequestHead) -> bytes | None:
        """Return what the wire says of the connection's certificate, or None without one."""
        return head.certificate or None

    def judge(self, credential: bytes, now: float) -> Judged:
        """Return whose certificate it is, or why that cannot be said."""
        shown = _read(credential)
        if shown is None:
            return Refused("invalid_credentials", "what is known of the certificate cannot be read")
        if not now < shown.expires:
            return Refused("invalid_credentials", "the certificate has expired since it was shown")
        try:
            who = self._id(shown)
            tenant = self._tenant(shown)
        except ValueError as error:
            return Refused("invalid_credentials", str(error))
        rule = next((rule for rule in self._settings.rules if matches(rule.match, who)), _NO_RULE)
        identity = Identity(
            kind="service",
            id=who,
            tenant=rule.tenant or tenant,
            roles=frozenset(rule.roles),
            tier=rule.tier,
            scopes=frozenset(rule.scopes),
            claims={
                "fingerprint": shown.fingerprint,
                "subject": shown.distinguished_name(),
                **{name: shown.alternatives(kind) for name, kind in _NAME_KINDS.items()},
            },
            method=self.name,
        )
        return Known(identity, shown.expires)

    def hide(self, head: RequestHead) -> None:
        """Do nothing: a certificate goes no further than the connection."""

    def _id(self, shown: _Certificate) -> str:
        by = self._settings.id
        if by == "subject":
            return _usable(shown.distinguished_name(), "subject")
        if by != "common_name":
            return _usable(next(iter(shown.alternatives(_NAME_KINDS[by])), ""), f"alternative name of the kind {by}")
        return _usable(_only(shown.attributes("commonName"), "common names"), "common name")

    def _tenant(self, shown: _Certificate) -> str:
        by = self._settings.tenant
        if by == "none":
            return ""
        found = _only(shown.attributes(_TENANTS[by]), f"values of the {by.replace('_', ' ')}")
        return _usable(found, by.replace("_", " ")) if found else ""


_NO_RULE = CertificateRule()


def matches(pattern: str, text: str) -> bool:
    """Tell whether a text is what a rule asks for; * at an end of the pattern stands for any text."""
    head, tail = pattern.startswith("*"), pattern.endswith("*")
    inner = pattern.strip("*")
    if head and tail:
        return inner in text
    if head:
        return text.endswith(inner)
    return text.startswith(inner) if tail else text == pattern


def _only(values: list[str], what: str) -> str:
    if len(values) > 1:
        raise ValueError(f"the certificate has {len(values)} {what}")
    return values[0] if values else ""


def _usable(text: str, what: str) -> str:
    if not text:
        raise ValueError(f"the certificate has no {what}")
    # It goes into logs, and into the fields that tell upstreams who asks.
    if _CONTROL.search(text) or len(text) > _LONGEST_ID:
        raise ValueError(f"the {what} of the certificate has control characters, or more than {_LONGEST_ID}")
    return text


def _attribute(pair: tuple[str, str]) -> str:
    name, value = pair
    return f"{_SHORT.get(name, name)}={_SPECIAL.sub(lambda found: chr(92) + found[0], value)}"


def _read(credential: bytes) -> _Certificate | None:
    """Read what the wire wrote; None for anything else."""
    try:
        said: Any = json.loads(credential)
        subject = tuple(tuple((str(key), str(value)) for key, value in part) for part in said["subject"])
        names = tuple((str(kind), str(value)) for kind, value, *_ in said["names"])
        return _Certificate(float(said["expires"]), str(said["fingerprint"]), subject, names)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None

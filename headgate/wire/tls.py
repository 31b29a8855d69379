"""TLS on both sides: a listener's certificates, chosen by SNI and replaced while it runs; upstream contexts.

Laws:
- A listener keeps one `context` for life, which the event loop holds. It only chooses: each handshake is given a
  context of the current table. A reload builds the whole new table first and then replaces one reference, so handshakes
  see the old set or the new one, and open connections keep theirs.
- Nothing that cannot be loaded replaces what works. Errors name the file.
- Upstreams are verified unless the operator said otherwise in so many words.

Doubt: OpenSSL takes version, verification mode and the store of resumable sessions from the first context, so those are
set on it too; with client certificates tickets are off, because a resumed session is not verified again. TLS 1.2
clients may still resume by session id for as long as the listener's context lives.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple

__all__ = [
    "BadTls",
    "CertificateFiles",
    "CertificateStore",
    "ListenerTls",
    "certificate_shown",
    "chosen_protocol",
    "client_context",
]

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_PEM_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class BadTls(ValueError):
    """Say which file could not be used, and why."""


class CertificateFiles(NamedTuple):
    """Paths of a PEM file with a certificate and its chain, and of one with its key (may be the same file)."""

    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """How a listener speaks TLS; the first certificate is the default."""

    certificates: tuple[CertificateFiles, ...]
    client_ca: str | None = None
    client_auth: Literal["require", "request"] = "require"
    min_version: Literal["1.2", "1.3"] = "1.2"
    strict_sni: bool = False
    alpn: tuple[str, ...] = ("http/1.1",)


# -- listeners -----------------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """One loaded set of certificates."""

    default: ssl.SSLContext
    exact: dict[str, ssl.SSLContext]
    wildcards: dict[str, ssl.SSLContext]
    strict: bool

    def find(self, name: str) -> ssl.SSLContext | None:
        # RFC 6125 section 6.4.3: the star stands for one whole label on the left.
        return self.exact.get(name) or self.wildcards.get(name.partition(".")[2])


class CertificateStore:
    """The certificates of one listener; give `context` to the server and call `replace` when files changed."""

    __slots__ = ("_table", "authorities", "context")

    def __init__(self, tls: ListenerTls) -> None:
        """Load everything.

        Raises:
            BadTls: if a file cannot be used.
        """
        self._table = _load(tls)
        # Tells one state of the file of authorities from another.
        self.authorities = _authorities_of(tls)
        self.context = _server_context(tls)
        self.context.sni_callback = self._choose

    def replace(self, tls: ListenerTls) -> None:
        """Load everything anew and use it for handshakes from now on; on error nothing changes.

        Raises:
            BadTls: if a file cannot be used.
        """
        table = _load(tls)
        authorities = _authorities_of(tls)
        _harden(self.context, tls)
        self._table, self.authorities = table, authorities

    @property
    def names(self) -> list[str]:
        """The names that certificates are chosen by."""
        return sorted([*self._table.exact, *(f"*.{parent}" for parent in self._table.wildcards)])

    def _choose(self, tls: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        table = self._table
        found = table.default
        if name:
            known = table.find(name.lower().removesuffix("."))
            if known is None and table.strict:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            found = known or found
        tls.context = found
        return None


def _load(tls: ListenerTls) -> _Table:
    if not tls.certificates:
        raise BadTls("a TLS listener needs a certificate: write cert and key")
    contexts: list[ssl.SSLContext] = []
    exact: dict[str, ssl.SSLContext] = {}
    wildcards: dict[str, ssl.SSLContext] = {}
    for files in tls.certificates:
        context = _server_context(tls)
        _load_chain(context, files)
        contexts.append(context)
        for name in _dns_names(files.cert):
            # The first certificate listed keeps a name that several have.
            if name.startswith("*."):
                wildcards.setdefault(name[2:], context)
            else:
                exact.setdefault(name, context)
    return _Table(contexts[0], exact, wildcards, tls.strict_sni)


def _authorities_of(tls: ListenerTls) -> bytes:
    if tls.client_ca is None:
        return b""
    try:
        return sha256(Path(tls.client_ca).read_bytes()).digest()
    except OSError as error:
        raise BadTls(f"the authorities in {tls.client_ca} cannot be read: {error.strerror}") from None


def _server_context(tls: ListenerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A client could otherwise ask for handshake after handshake on one connection (TLS 1.2).
    context.options |= ssl.OP_NO_RENEGOTIATION
    _harden(context, tls)
    return context


def _harden(context: ssl.SSLContext, tls: ListenerTls) -> None:
    if tls.client_ca is not None:
        _load_authorities(context, tls.client_ca)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_alpn_protocols(list(tls.alpn))
    if tls.client_ca is None:
        context.verify_mode = ssl.CERT_NONE
        return
    context.verify_mode = ssl.CERT_REQUIRED if tls.client_auth == "require" else ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def certificate_shown(transport: asyncio.BaseTransport) -> bytes:
    """Return what is known of the certificate that a client has shown and the handshake has verified, or b"".

    JSON, always the same for the same certificate: expires (seconds since 1970), fingerprint (SHA-256 of the DER),
    subject and names (the alternative ones), both as the standard library gives them.
    """
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    said = tls.getpeercert() if tls is not None else None
    der = tls.getpeercert(binary_form=True) if tls is not None and said else None
    if not said or der is None:
        return b""
    told = {
        "expires": ssl.cert_time_to_seconds(str(said["notAfter"])),
        "fingerprint": sha256(der).hexdigest(),
        "names": said.get("subjectAltName", ()),
        "subject": said.get("subject", ()),
    }
    return json.dumps(told, separators=(",", ":")).encode()


def chosen_protocol(transport: asyncio.BaseTransport) -> str | None:
    """Return what both sides have chosen by ALPN; None without TLS, or when they have nothing in common."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return tls.selected_alpn_protocol() if tls is not None else None


# -- upstreams -----------------------------------------------------------------------------------------------


# Loading the system's authorities takes milliseconds, and endpoints and reloads ask again and again for the same.
_CACHED_CONTEXTS: Final = 64


def client_context(
    *,
    verify: bool = True,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    protocols: tuple[str, ...] = ("http/1.1",),
) -> ssl.SSLContext:
    """Return the context for upstreams of these settings, the same one as long as its files are the same.

    `ca` stands in place of the system's authorities; `cert` and `key` are ours to show; `protocols` are offered by
    ALPN. Which name to ask for and to check is the connection's argument.

    Raises:
        BadTls: if a file cannot be used.
    """
    stamps = tuple(_stamp(path) for path in (ca, cert, key) if path is not None)
    return _client_context(verify, ca, cert, key, protocols, stamps)


@lru_cache(maxsize=_CACHED_CONTEXTS)
def _client_context(
    verify: bool,
    ca: str | None,
    cert: str | None,
    key: str | None,
    protocols: tuple[str, ...],
    _stamps: tuple[object, ...],
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_authorities(context, ca)
    if cert is not None:
        _load_chain(context, CertificateFiles(cert, key or cert))
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        seen = Path(path).stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


# -- files ---------------------------------------------------------------------------------------------------


def _load_chain(context: ssl.SSLContext, files: CertificateFiles) -> None:
    try:
        # An empty password makes an encrypted key an error; without one OpenSSL would ask the terminal.
        context.load_cert_chain(files.cert, files.key, password="")
    except ssl.SSLError as error:
        raise BadTls(
            f"certificate {files.cert} with key {files.key}: {_reason(error)}; "
            "both must be PEM, belong together, and the key must not be encrypted"
        ) from None
    except OSError as error:
        missing = files.cert if not Path(files.cert).is_file() else files.key
        raise BadTls(f"{missing}: {error.strerror}") from None


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise BadTls(f"{path}: {_reason(error)}; it must hold certificates of authorities as PEM") from None
    except OSError as error:
        raise BadTls(f"{path}: {error.strerror}") from None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not usable").replace("_", " ").lower()


def _dns_names(path: str) -> list[str]:
    """Return the DNS names of the first certificate of a file, in lower case.

    The standard library shows a certificate's names only to a peer that verified it, so they are read from the DER:
    Certificate > tbsCertificate > [3] extensions > subjectAltName > [2] dNSName (RFC 5280 section 4.1, 4.2.1.6).
    """
    pem = _PEM_CERTIFICATE.search(Path(path).read_text("ascii", "replace"))
    if pem is None:
        return []
    (_, certificate), *_ = _elements(ssl.PEM_cert_to_DER_cert(pem[0]))
    (_, tbs), *_ = _elements(certificate)
    names: list[str] = []
    for tag, extensions in _elements(tbs):
        if tag != 0xA3:
            continue
        for _, extension in _elements(next(_elements(extensions))[1]):
            (_, oid), *_, (_, value) = _elements(extension)
            if oid == b"\x55\x1d\x11":
                general_names = _elements(next(_elements(value))[1])
                names += [name.decode("ascii", "replace").lower() for kind, name in general_names if kind == 0x82]
    return names


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element; the structure was judged by OpenSSL before."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            width = length & 0x7F
            length = int.from_bytes(der[at : at + width], "big")
            at += width
        yield tag, der[at : at + length]
        at += length

"""Certificates and keys that the configurations of these tests name, good ones and bad ones."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID


def make_files(folder: Path) -> None:
    """Make a folder with good.pem and good.key, other.key, encrypted.key, text.pem, ed25519.pem and keys.json."""
    folder.mkdir()
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "good.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "good.key").write_bytes(key.private_bytes(pem, plain, serialization.NoEncryption()))
    (folder / "other.key").write_bytes(other.private_bytes(pem, plain, serialization.NoEncryption()))
    locked = serialization.BestAvailableEncryption(b"pass phrase")
    (folder / "encrypted.key").write_bytes(key.private_bytes(pem, plain, locked))
    (folder / "text.pem").write_text("no certificate\n")
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    (folder / "ed25519.pem").write_bytes(edwards.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    jwk: dict[str, object] = {"kty": "EC", "crv": "P-256", "kid": "one"}
    numbers = key.public_key().public_numbers()
    for part, number in (("x", numbers.x), ("y", numbers.y)):
        jwk[part] = urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()
    (folder / "keys.json").write_text(json.dumps({"keys": [jwk, {"kty": "unknown"}]}))

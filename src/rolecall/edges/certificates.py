"""X.509 certificates of the webhook: what one says, and new ones of an authority of our own."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rolecall.core.secrets import Secret
from rolecall.errors import Misconfigured

SERVING_DAYS = 90
BACKDATED = 3600.0
"""Seconds by which a certificate begins before it is made: clocks differ."""
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate begins and ends, in seconds since the epoch, and the names and addresses in it."""

    begins: float
    ends: float
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class ServingPair:
    """A serving certificate, its key, and the authority that signed it and nothing else. All PEM."""

    authority: str
    certificate: str
    key: Secret


def read_certificate(pem: str) -> Validity:
    """Return what the first certificate of a chain says; raises `Misconfigured` where there is none."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())[0]
    except (ValueError, IndexError):
        raise Misconfigured("there is no certificate in PEM form", hint="give a certificate chain") from None
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        shown = frozenset(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))
    except (x509.ExtensionNotFound, ValueError):
        shown = frozenset()
    return Validity(found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp(), shown)


def make_pair(names: Sequence[str], now: float) -> ServingPair:
    """Return a serving certificate for these names and addresses, 90 days, and an authority of its own.

    The authority's key is forgotten at once: nobody, who has the pair or not, can have it sign anything more.
    """
    began = datetime.fromtimestamp(now - BACKDATED, UTC)
    ends = datetime.fromtimestamp(now, UTC) + timedelta(days=SERVING_DAYS)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _named(f"rolecall webhook {began:%Y-%m-%dT%H:%M:%SZ}")
    authority = (
        _begun(authority_name, authority_name, authority_key, began, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        _begun(_named(names[0][:64]), authority_name, key, began, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ServingPair(
        authority.public_bytes(_PEM).decode(), leaf.public_bytes(_PEM).decode(), Secret(private.decode())
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, began: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(ends)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )

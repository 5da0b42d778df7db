"""A certificate authority of a test."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    """One with a key of its own. `certificate` is PEM."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"rolecall test {name}")])
        made = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, 0), critical=True)
        self.certificate = made.sign(self._key, hashes.SHA256()).public_bytes(PEM)

    def issue(self, *names: str, user: str = "", group: str = "") -> bytes:
        """Return a certificate, and its key after it, as PEM: for addresses and host names, or for a user.

        To Kubernetes a user's common name is the user and the organization a group.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, user or names[0])]
        if group:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        made = self._builder(x509.Name(subject), key)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        form = (PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return made.sign(self._key, hashes.SHA256()).public_bytes(PEM) + key.private_bytes(*form)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        # Python 3.13 refuses certificates that do not say which key signed them.
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(signer, critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

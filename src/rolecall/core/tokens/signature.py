"""The algorithm that a token may be signed with, the key that fits it, and the signature itself (RFC 7518 §3)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from rolecall.core.tokens.jws import Jws, NotBelieved
from rolecall.core.tokens.keys import PublicKey

_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}

STS_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", *_CURVES})
"""What STS verifies (landscape.md §1.2), and all that this module can. HMAC and ``none`` are not among them."""


def algorithm_of(header: Mapping[str, Any], allowed: Set[str]) -> str:
    """Return the header's algorithm; raises `NotBelieved` ``unsigned`` or ``bad-algorithm`` (step 2)."""
    algorithm = header.get("alg")
    if isinstance(algorithm, str) and algorithm.lower() == "none":
        raise NotBelieved(2, "unsigned", "the token is not signed")
    if not isinstance(algorithm, str) or algorithm not in allowed:
        raise NotBelieved(2, "bad-algorithm", f"the token's algorithm is not one of {', '.join(sorted(allowed))}")
    return algorithm


def check_key(key: PublicKey, algorithm: str) -> None:
    """Raise `NotBelieved` ``bad-algorithm`` (step 3) where the key is not of the algorithm's type and curve."""
    if isinstance(key, rsa.RSAPublicKey):
        fits = algorithm.startswith("RS")
    else:
        fits = algorithm in _CURVES and key.curve.name == _CURVES[algorithm][0]
    if not fits:
        raise NotBelieved(3, "bad-algorithm", f"the token says {algorithm}, but its key is of another type")


def check_signature(jws: Jws, key: PublicKey, algorithm: str) -> None:
    """Raise `NotBelieved` ``bad-signature`` (step 4) unless `key`, which fits, made the signature.

    An ECDSA signature is R and S in the curve's full width, one after the other, and nothing else: no DER.
    """
    digest = _HASHES[algorithm[2:]]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(jws.signature, jws.signing_input, padding.PKCS1v15(), digest)
            return
        width = _CURVES[algorithm][1]
        if len(jws.signature) == 2 * width:
            r, s = (int.from_bytes(half, "big") for half in (jws.signature[:width], jws.signature[width:]))
            key.verify(encode_dss_signature(r, s), jws.signing_input, ec.ECDSA(digest))
            return
    except InvalidSignature:
        pass
    raise NotBelieved(4, "bad-signature", "the token's signature does not verify with its issuer's key")

"""The allow-list: the only documents of the node's own service that a pod may read, each as a constant.

Whatever is not here is never asked for upstream: user data (bootstrap secrets), everything below ``iam`` and
``identity-credentials`` (the node's credentials), ``public-keys``, tags, and what nobody has thought of yet. Sources:
EC2 User Guide, "Instance metadata categories"; legacy-proxies.md §2.2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

# Where the node is: SDKs find their region here.
PLACEMENT = frozenset(
    f"meta-data/placement/{name}"
    for name in ("availability-zone", "availability-zone-id", "region", "group-name", "host-id", "partition-number")
) | {"meta-data/services/domain", "meta-data/services/partition"}
# What the node is: agents of monitoring name it by this. The document alone proves nothing to anybody.
IDENTITY = frozenset(
    f"meta-data/{name}"
    for name in (
        "ami-id", "hostname", "instance-id", "instance-life-cycle", "instance-type", "local-hostname", "local-ipv4",
        "mac", "public-hostname", "public-ipv4", "reservation-id", "security-groups",
    )
) | {"dynamic/instance-identity/document"}  # fmt: skip
# Signed, it proves to others (Vault) that the bearer is this node.
PROOF = frozenset(f"dynamic/instance-identity/{name}" for name in ("signature", "pkcs7", "rsa2048"))

PRESETS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "none": frozenset(),
        "placement": PLACEMENT,
        "identity": IDENTITY,
        "legacy-read": PLACEMENT | IDENTITY,
        "signed-identity": PROOF | {"dynamic/instance-identity/document"},
    }
)
DOCUMENTS = PLACEMENT | IDENTITY | PROOF


def upstream_path(document: str) -> str:
    """Return the path to ask the node's service for; a name that is not on the list is a defect of ours."""
    if document not in DOCUMENTS:
        raise ValueError("not a document of the allow-list")
    return f"/latest/{document}"


def entries(directory: str, allowed: Collection[str]) -> list[str]:
    """Return what a directory holds of the allowed documents, as the service lists it; nothing if it is none.

    `directory` has no slash at its end; the root of a version is the empty text.
    """
    prefix = f"{directory}/" if directory else ""
    below = (name.removeprefix(prefix) for name in allowed if name.startswith(prefix))
    return sorted({head + slash for head, slash, _ in (name.partition("/") for name in below)})

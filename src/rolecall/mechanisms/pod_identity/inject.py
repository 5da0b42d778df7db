"""What Pod Identity adds to a pod: the door's address, and a token that the door accepts."""

from __future__ import annotations

from rolecall.core.injection import Injection, Place, TokenMount, place_env, token_lifetime

# EKS User Guide, "Understand how EKS Pod Identity works"; aws-pod-identity.md §2.1, §2.3.
AUDIENCE = "pods.eks.amazonaws.com"
FULL_URI = "http://169.254.170.23/v1/credentials"
MOUNT_PATH = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
TOKEN_NAME = "eks-pod-identity-token"  # noqa: S105 - a file name, not a token


def inject(
    association_id: str,
    place: Place,
    *,
    full_uri: str = FULL_URI,
    mount_path: str = MOUNT_PATH,
    expiration: int = 86_400,
) -> Injection:
    """Return what a pod is given whose service account has this association. `expiration` is in seconds."""
    token = TokenMount(
        volume=TOKEN_NAME,
        mount_path=mount_path,
        file=TOKEN_NAME,
        audience=AUDIENCE,
        expiration=token_lifetime(expiration),
    )
    env = (
        *place_env(place),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full_uri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path),
    )
    return Injection("pod-identity", env, token, because=f"association {association_id}")

"""What Pod Identity adds to a pod: the door's address, and a token that the door accepts."""

from __future__ import annotations

from rolecall.core.injection import Injection, Place, TokenMount, check_audience, place_env, token_lifetime

# EKS User Guide, "Understand how EKS Pod Identity works"; aws-pod-identity.md §2.1, §2.3.
AUDIENCE = "pods.eks.amazonaws.com"
FULL_URI = "http://169.254.170.23/v1/credentials"
FULL_URI_IPV6 = "http://[fd00:ec2::23]/v1/credentials"
# What NO_PROXY has to name, as the guide writes it: else some SDKs ask the proxy for the door.
DOOR_HOSTS = ("169.254.170.23", "[fd00:ec2::23]")
MOUNT_PATH = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
TOKEN_NAME = "eks-pod-identity-token"  # noqa: S105 - a file name, not a token


def inject(
    association_id: str,
    place: Place,
    *,
    full_uri: str = FULL_URI,
    mount_path: str = MOUNT_PATH,
    volume: str = TOKEN_NAME,
    file: str = TOKEN_NAME,
    audience: str = AUDIENCE,
    expiration: int = 86_400,
) -> Injection:
    """Return what a pod is given whose service account has this association. `expiration` is in seconds.

    Raises `BadName` for an empty audience.
    """
    token = TokenMount(
        volume=volume,
        mount_path=mount_path,
        file=file,
        audience=check_audience(audience),
        expiration=token_lifetime(expiration),
    )
    env = (
        *place_env(place),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full_uri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.path),
    )
    return Injection("pod-identity", env, token, because=f"association {association_id}")

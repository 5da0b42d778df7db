"""Tokens that must open no door, tried with unmodified boto3 at the agent (Pod Identity) and at STS (IRSA).

    rolecall run -n demo-ns -s demo-sa -- python examples/evolution/outsiders.py DIRECTORY ROLE_ARN

Its own token opens the agent's door and DIRECTORY/carts that of STS: without this the refusals would prove nothing.
The forged ones are made out of these two.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import urllib.request
from pathlib import Path

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.utils import ContainerMetadataFetcher, MetadataRetrievalError

directory, role_arn = Path(sys.argv[1]), sys.argv[2]


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def forged(token: str) -> dict[str, str]:
    """Return tokens that say the same, or a little more, signed as well as an outsider can."""
    header, payload, signature = token.split(".")
    claims = decoded(payload)
    longer = encoded(json.dumps(claims | {"exp": claims["exp"] + 3600}).encode())
    # The classic mistake of verifiers: the public key, which everybody has, taken as the secret of an HMAC.
    with urllib.request.urlopen(f"{claims['iss']}/keys") as answer:
        public = answer.read()
    hs256 = encoded(json.dumps(decoded(header) | {"alg": "HS256"}).encode()) + f".{payload}"
    unsigned = encoded(json.dumps({"alg": "none"}).encode()) + f".{payload}."
    return {
        "changed claims": f"{header}.{longer}.{signature}",
        "signed with nothing": unsigned,
        "signed with the public key": f"{hs256}.{encoded(hmac.digest(public, hs256.encode(), hashlib.sha256))}",
    }


def agent_says(token: str) -> str:
    door = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    try:
        ContainerMetadataFetcher(sleep=lambda _: None).retrieve_full_uri(door, headers={"Authorization": token})
        return "OPEN"
    except MetadataRetrievalError as fault:
        return str(fault).partition("container metadata: ")[2].strip()


def sts_says(token: str) -> str:
    sts = boto3.client("sts", config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}))
    try:
        sts.assume_role_with_web_identity(RoleArn=role_arn, RoleSessionName="outsider", WebIdentityToken=token)
        return "OPEN"
    except ClientError as fault:
        return f"{fault.response['Error']['Code']}: {fault.response['Error']['Message']}"


own = Path(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text()
for_sts = (directory / "carts").read_text().strip()
refused = {"foreign audience": (directory / "demo-sa.foreign").read_text().strip()}
refused |= {"expired": (directory / "demo-sa.expired").read_text().strip()} | forged(own)
opened = 0
print("the agent")
for name, token in {"its own token": own, **refused}.items():
    answer = agent_says(token)
    opened += answer == "OPEN"
    print(f"  {name:<27} {answer}")
print("STS")
refused = {"foreign audience": (directory / "carts.foreign").read_text().strip()} | forged(for_sts)
refused["another service account's"] = (directory / "cartz").read_text().strip()
for name, token in {"its own token": for_sts, **refused}.items():
    answer = sts_says(token)
    opened += answer == "OPEN"
    print(f"  {name:<27} {answer}")
sys.exit(0 if opened == 2 else f"{opened} tokens opened a door; only the two good ones may")

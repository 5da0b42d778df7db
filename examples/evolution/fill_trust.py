"""How many clusters one IRSA role can serve: its trust policy grows by a statement for each, until IAM refuses.

python examples/evolution/fill_trust.py ROLE
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError

iam = boto3.client("iam")
role = sys.argv[1]
account = boto3.client("sts").get_caller_identity()["Account"]
before = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]


def statement(issuer: str) -> dict:
    """Return what the role must say to be used from one more cluster."""
    return {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{account}:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{issuer}:sub": "system:serviceaccount:carts:carts", f"{issuer}:aud": "sts.amazonaws.com"}
        },
    }


def fill(host: str) -> int:
    """Add clusters whose issuers live at `host` until IAM refuses; return how many fitted."""
    statements = []
    while True:
        statements.append(statement(f"{host}{len(statements) + 1:032X}"))
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        try:
            iam.update_assume_role_policy(RoleName=role, PolicyDocument=document)
        except ClientError as fault:
            if fault.response["Error"]["Code"] != "LimitExceeded":
                raise
            print(f"  {host}…: {len(statements) - 1} clusters, then {fault.response['Error']['Code']}")
            return len(statements) - 1


try:
    fitted = fill("oidc.eks.us-west-2.amazonaws.com/id/")
finally:
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(before))
sys.exit(0 if 1 <= fitted <= 10 else 1)

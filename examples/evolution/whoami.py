"""A program as it runs in a pod: it asks AWS who it is, and tries what its role allows and what it does not.

rolecall run -n demo-ns -s demo-sa -- python examples/evolution/whoami.py OTHER_ROLE
"""

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError

other = sys.argv[1]
try:
    session = boto3.Session()
    me = session.client("sts").get_caller_identity()["Arn"]
except (BotoCoreError, ClientError) as fault:
    sys.exit(f"no identity: {type(fault).__name__}")

role = me.split("/")[1]
iam = session.client("iam")
print(f"boto3 is {me}")
print(f"  by credentials from {session.get_credentials().method}, key {session.get_credentials().access_key}")
print(f"  its own role: {iam.get_role(RoleName=role)['Role']['RoleName']}")
try:
    iam.get_role(RoleName=other)
    sys.exit(f"  the role {other}: readable, which its policy does not allow")
except ClientError as fault:
    print(f"  the role {other}: {fault.response['Error']['Code']}")

"""A pod that tries, at its metadata service, to be somebody else.

    rolecall run -n carts -s carts --via kube2iam --role ROLE -- python neighbour.py OTHER_ROLE NODE_ROLE

Its own role opens the door: without this the refusals would prove nothing. The crooked paths are those by which older
proxies were walked around; the forwarded question is what a server asks that was tricked into fetching a URL.
"""

import os
import sys
import urllib.error
import urllib.request

service = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
roles = "/latest/meta-data/iam/security-credentials/"
other, node = sys.argv[1], sys.argv[2]


def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return the status, and the first line of a refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    question = urllib.request.Request(service + path, method=method, headers=named)
    try:
        with urllib.request.urlopen(question, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        words = refused.read().decode().partition("\n")[0]
        return refused.code, "" if words.startswith("<") else words


own = ask(roles)[1]
ttl = {"X_aws_ec2_metadata_token_ttl_seconds": "60", "X_Forwarded_For": "10.1.2.3"}
tried = {
    "its own role": ask(roles + own),
    "its neighbour's role": ask(roles + other),
    "the node's role": ask(roles + node),
    "by a double slash": ask(f"/latest//meta-data/iam/security-credentials/{node}"),
    "by dots": ask(f"/x/../latest/meta-data/iam/security-credentials/{node}"),
    "by an encoded slash": ask(f"/latest/meta-data/iam%2fsecurity-credentials/{node}"),
    "the instance's own identity": ask("/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"),
    "the node's user data": ask("/latest/user-data"),
    "a token for somebody else": ask("/latest/api/token", "PUT", **ttl),
}
opened = 0
for name, (status, words) in tried.items():
    opened += "AccessKeyId" in words or status == 200
    print(f"{name:<28} {status} {words if status != 200 else ''}".rstrip())
sys.exit(0 if opened == 1 else f"{opened} doors opened; only its own may")

"""The rules by themselves: policies, tokens and signatures a second, against a library that does the same."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import jwt
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import rsa

from rolecall.core.exchange import Request
from rolecall.core.policy.context import RequestContext
from rolecall.core.policy.document import parse_policy
from rolecall.core.policy.evaluate import AccessRequest, NamedPolicy, evaluate
from rolecall.core.policy.match import Requester
from rolecall.core.secrets import Secret
from rolecall.core.tokens.keys import Keyset
from rolecall.core.tokens.verify import STS_ALGORITHMS, DoorRules, verify
from rolecall.edges.aws import sigv4

NOW = 1_800_000_000


def run(rounds: int = 5) -> list[str]:
    """Measure, and return the rows of the table."""
    rows = ["| rule | ours | reference | ratio (min to max) |", "|---|---|---|---|"]
    rows.append(_row("policy evaluation, 20 statements", _policies(), None, rounds))
    rows.append(_row("token verification, RS256; PyJWT", *_tokens(), rounds))
    rows.append(_row("signature verification, SigV4; botocore signing the same", *_signatures(), rounds))
    return rows


def _row(name: str, ours: Callable[[], object], reference: Callable[[], object] | None, rounds: int) -> str:
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(_per_second(ours))
        if reference is not None:
            theirs.append(_per_second(reference))
    if not theirs:
        return f"| {name} | {statistics.median(mine):,.0f}/s | | |"
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {name} | {statistics.median(mine):,.0f}/s | {statistics.median(theirs):,.0f}/s | {spread} |"


def _per_second(work: Callable[[], object], seconds: float = 0.5) -> float:
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(50):
            work()
        count += 50
    return count / elapsed


def _policies() -> Callable[[], object]:
    statements = [
        {
            "Effect": "Allow",
            "Action": [f"service{number}:Get*", f"service{number}:List*"],
            "Resource": f"arn:aws:service{number}:us-west-2:123456789012:thing/${{aws:PrincipalTag/team}}/*",
            "Condition": {"StringEquals": {"aws:PrincipalTag/team": f"team-{number}"}},
        }
        for number in range(20)
    ]
    policy = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": statements}), "identity")
    named = (NamedPolicy("p", policy),)
    requester = Requester(arn="arn:aws:sts::123456789012:assumed-role/r/s", account="123456789012", kind="role-session")
    context = RequestContext.of({"aws:PrincipalTag/team": "team-19"})
    arn = "arn:aws:service19:us-west-2:123456789012:thing/team-19/a"
    asked = AccessRequest("service19:GetThing", arn, requester, context)
    assert evaluate(named, asked).allowed
    return lambda: evaluate(named, asked)


def _tokens() -> tuple[Callable[[], object], Callable[[], object]]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kubernetes = {"namespace": "ns", "serviceaccount": {"name": "sa", "uid": "u"}, "pod": {"name": "p", "uid": "v"}}
    claims = {"iss": "https://issuer", "sub": "system:serviceaccount:ns:sa", "aud": ["a"], "iat": NOW, "nbf": NOW}
    claims |= {"exp": NOW + 10**9, "kubernetes.io": kubernetes, "jti": "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}
    token = jwt.encode(claims, key, "RS256", {"kid": "k"})
    keys = Keyset({"k": key.public_key()})
    rules = DoorRules(STS_ALGORITHMS, 300.0, "https://issuer", frozenset({"a"}), require_kubernetes=True)
    public, options = key.public_key(), {"require": ["exp", "iat"], "verify_iat": False, "verify_nbf": False}
    return (
        lambda: verify(token, keys=keys, rules=rules, now=NOW),
        lambda: jwt.decode(token, public, ["RS256"], options, audience="a", issuer="https://issuer"),
    )


def _signatures() -> tuple[Callable[[], object], Callable[[], object]]:
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = (("host", "127.0.0.1:4500"), ("content-type", "application/x-www-form-urlencoded"))
    secret = Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    unsigned = Request("POST", "/", headers, body)
    request = sigv4.sign(
        unsigned, access_key_id="AKIA", secret=secret, session_token=None, service="sts", region="us-west-2", now=NOW
    )

    def check() -> None:
        signed = sigv4.parse_authorization(request)
        assert signed is not None
        sigv4.verify(request, signed, secret=secret, now=NOW)

    signer = SigV4Auth(Credentials("AKIA", secret.reveal()), "sts", "us-west-2")

    def sign() -> None:
        signer.add_auth(AWSRequest("POST", "http://127.0.0.1:4500/", dict(headers), body))

    return check, sign

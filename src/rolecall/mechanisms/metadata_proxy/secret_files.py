"""kube-aws-iam-controller: which role an AWSIAMRole gets, the files of its Secret, and when they are renewed.

Keys, texts, labels and session names are the original's (legacy-proxies.md §6). What it had not: a namespace's list of
roles, bounds, and a renewal that comes once in a third of a session's life at most.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rolecall.core.grant import Decision, Grant, Hop, Refusal
from rolecall.core.names import RoleArn
from rolecall.core.secrets import Secret
from rolecall.core.session import LONGEST_SESSION, SHORTEST_SESSION, SessionSpec, check_session_name
from rolecall.core.source import Issued
from rolecall.errors import BadInput, BadName
from rolecall.mechanisms.metadata_proxy.permitted import kube2iam_permits
from rolecall.mechanisms.metadata_proxy.settings import SecretFiles
from rolecall.mechanisms.metadata_proxy.wire import pattern_list

API_VERSION, KIND = "zalando.org/v1", "AWSIAMRole"
LABELS: Mapping[str, str] = {"heritage": "kube-aws-iam-controller", "type": "awsiamrole"}
"""What its Secrets have, over the labels of the AWSIAMRole."""
ROLE_ARN, EXPIRE, GENERATION = "role-arn", "expire", "awsiamrole-generation"
INI, PROCESS, JSON = "credentials", "credentials.process", "credentials.json"
KEYS = (ROLE_ARN, EXPIRE, INI, PROCESS, JSON, GENERATION)
PROCESS_FILE = "[default]\ncredential_process = cat /meta/aws-iam/credentials.json\n"
DURATION = 3600
"""Seconds of a session where the AWSIAMRole says nothing."""
Files = Mapping[str, Secret | str]
"""A Secret's data; what is secret in it cannot be printed."""
_LONGEST_SESSION_NAME = 64
_NOT_IN_SESSION = re.compile(r"[^\w+=,.@-]", re.ASCII)
_SKEW = 300.0  # seconds that clocks may differ by


@dataclass(frozen=True, slots=True)
class Resource:
    """An AWSIAMRole. `reference` is a name, a path and name, or an ARN; `duration` is in seconds, 0 for none."""

    namespace: str
    name: str
    uid: str
    generation: int
    reference: str
    duration: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """A Secret with our labels, without what is secret in it. `owners` are the uids of the AWSIAMRoles of its name
    that own it; `complete` says that all its files are there."""

    namespace: str
    name: str
    uid: str
    version: str
    owners: frozenset[str]
    role_arn: str
    expires_at: float | None
    generation: int | None
    complete: bool


def decide(rules: SecretFiles, resource: Resource, namespace: Mapping[str, str] | None) -> Decision:
    """Return which session an AWSIAMRole gets, or why none; `namespace` has its namespace's annotations.

    Refusals: ``no-role``, ``other-partition``, ``bad-role``, ``bad-duration``, ``namespace-unknown`` (None was given),
    ``namespace-forbids``, ``no-list``, ``bad-list``.
    """
    arn = _arn(rules, resource.reference)
    if isinstance(arn, Refusal):
        return arn
    wanted = resource.duration or DURATION
    if not SHORTEST_SESSION <= wanted <= LONGEST_SESSION:
        sentence = f"roleSessionDuration {wanted} is out of range"
        return Refusal("bad-duration", sentence, f"use {SHORTEST_SESSION} to {LONGEST_SESSION}")
    permitted = permits(rules, arn, namespace)
    if isinstance(permitted, Refusal):
        return permitted
    duration = min(wanted, rules.longest)
    because = [permitted]
    if duration < wanted:
        because.append(f"roleSessionDuration {wanted} shortened to {duration}: a role that assumes roles gets no more")
    return Grant((Hop(arn, SessionSpec(session_name(arn), duration)),), tuple(because))


def permits(rules: SecretFiles, arn: RoleArn, namespace: Mapping[str, str] | None) -> str | Refusal:
    """Return what lets a namespace have this role, or why it may not."""
    if rules.restrictions == "off":
        return "any role: namespaces are not restricted"
    if namespace is None:
        return Refusal("namespace-unknown", "its namespace is not known yet")
    text, key = namespace.get(rules.namespace_key), rules.namespace_key
    if text is None:
        if rules.restrictions == "where-set":
            return f"any role: its namespace has no {key}"
        return Refusal("no-list", f"its namespace has no annotation {key}", "list there the roles that it may have")
    patterns = pattern_list(text)
    if not patterns and "".join(text.split()) != "[]":
        return Refusal("bad-list", f"the namespace's annotation {key} is no JSON list", 'write it like ["role", "a/*"]')
    try:
        if kube2iam_permits(patterns, str(arn), base=rules.base, written=rules.written):
            return f"namespace's {key} {text[:200]}"
    except BadInput as fault:
        return Refusal("bad-list", f"the namespace's annotation {key}: {fault.message}", "correct the expression")
    return Refusal("namespace-forbids", f"its namespace may not have {arn}", f"add it to the namespace's {key}")


def withdraws(refusal: Refusal) -> bool:
    """Whether what was issued before is taken away: somebody has decided against it. What is missing or cannot be read
    ends a renewal, and no pod."""
    return refusal.reason == "namespace-forbids"


def unrestricted(rules: SecretFiles, namespace: Mapping[str, str] | None) -> bool:
    """Whether anybody who may write AWSIAMRoles into this namespace gets any role."""
    unlisted = namespace is not None and rules.namespace_key not in namespace
    return rules.restrictions == "off" or (rules.restrictions == "where-set" and unlisted)


def _arn(rules: SecretFiles, reference: str) -> RoleArn | Refusal:
    if not reference:
        return Refusal("no-role", "spec.roleReference is missing", "set it to a role's name or ARN")
    prefix = ":".join(rules.base.split(":")[:4]) + ":"  # arn:<partition>:iam::
    if reference.startswith("arn:") and not reference.startswith(prefix):
        sentence = f"{reference[:100]!r} is no role of this partition"
        return Refusal("other-partition", sentence, f"its ARN begins with {prefix}")
    try:
        return RoleArn.parse(reference if reference.startswith(prefix) else rules.base + reference)
    except BadName as fault:
        return Refusal("bad-role", fault.message, "correct spec.roleReference")


def session_name(arn: RoleArn) -> str:
    """Return ``<account>.<path>.<name>`` in 64 characters: the name has all it can, each level of the path one."""
    levels = [*arn.path.strip("/").split("/"), arn.name] if arn.path != "/" else [arn.name]
    left, found = _LONGEST_SESSION_NAME - len(arn.account), ""
    for before in range(len(levels) - 1, -1, -1):
        level = levels[before][: max(1, left - 2 * before - 1)]
        left -= len(level) + 1
        found = f".{level}{found}"
    return check_session_name(_NOT_IN_SESSION.sub("_", arn.account + found)[:_LONGEST_SESSION_NAME])


def moment(seconds: float) -> str:
    """Return a time as it is in the files (RFC 3339, UTC, whole seconds)."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def files(issued: Issued, arn: RoleArn, generation: int) -> Files:
    """Return the Secret's data, byte for byte the original's."""
    found, ends = issued.credentials, moment(issued.credentials.expires_at)
    key, secret, token = found.access_key_id, found.secret_access_key.reveal(), found.session_token.reveal()
    lines = {"access_key_id": key, "secret_access_key": secret, "session_token": token, "expiration": ends}
    members = {
        "Version": 1,
        "AccessKeyId": key,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": ends,
    }
    document = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    for letter in "&<>":  # as Go's encoder writes them
        document = document.replace(letter, f"\\u{ord(letter):04x}")
    return {
        ROLE_ARN: str(arn),
        EXPIRE: ends,
        INI: Secret("[default]\n" + "".join(f"aws_{name} = {value}\n" for name, value in lines.items())),
        PROCESS: PROCESS_FILE,
        JSON: Secret(document),
        GENERATION: str(generation),
    }


@dataclass(frozen=True, slots=True)
class Renewal:
    """When a Secret gets new credentials, in seconds since the epoch, and why."""

    at: float
    why: str


def renewal(rules: SecretFiles, resource: Resource, grant: Grant, held: Held | None, now: float) -> Renewal:
    """Return when and why; the moment is `now` for what is missing, spoilt, or not what is asked for any more.

    What is as it should be is renewed with a third of its life left, or with the refresh limit where that is more, but
    never before a third of it is over. A share of 5 % of the life, drawn from its uid, keeps many from coming at once.
    """
    if held is None:
        return Renewal(now, "missing")
    longest_left = LONGEST_SESSION + _SKEW
    if not held.complete or held.expires_at is None or held.expires_at - now > longest_left:
        return Renewal(now, "spoilt")
    if held.role_arn != str(grant.role):
        return Renewal(now, "other-role")
    if held.generation != resource.generation:
        return Renewal(now, "other-generation")
    life = grant.hops[-1].session.duration
    share = int.from_bytes(hashlib.sha256(resource.uid.encode()).digest()[:4], "big") / 2**32
    left = max(rules.refresh_limit, life / 3) + 0.05 * life * share
    return Renewal(held.expires_at - min(left, life * 2 / 3), "ending")

"""Which role the caller gets: the one that it is annotated with, where its namespace permits it.

Each function judges as one proxy does, and a refusal's sentence is what that proxy says or logs. What a function's name
begins with ``name_`` only names the role, as the listing does: nothing is granted by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.grant import Decision, Grant, Hop, Refusal
from rolecall.core.names import RoleArn
from rolecall.core.session import SessionSpec, check_session_name
from rolecall.errors import BadInput, BadName
from rolecall.mechanisms.imds.door import Asked
from rolecall.mechanisms.metadata_proxy import roles
from rolecall.mechanisms.metadata_proxy.permitted import kiam_permits, kube2iam_permits
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam, Metadataproxy
from rolecall.mechanisms.metadata_proxy.wire import pattern_list

# STS API Reference, AssumeRole: ExternalId.
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the decisions read. `annotations` are the pod's, `namespace` its namespace's.

    `namespace` is None where the cluster is not known to have it, which permits nothing. `account` is the one that the
    agent's own credentials are of, where that is known.
    """

    caller: AtPodIp | AtContainerIp
    annotations: Mapping[str, str] = field(default_factory=dict)
    namespace: Mapping[str, str] | None = None
    account: str = ""


# --- kube2iam ----------------------------------------------------------------------------------------------


def name_kube2iam(rules: Kube2iam, facts: Facts) -> str | Refusal:
    """Return the role's name as kube2iam lists it, empty for a pod that has none where a base is set.

    Refusals: ``no-role``, ``namespace-forbids``, ``bad-pattern``.
    """
    arn = _kube2iam_mapped(rules, facts)
    if isinstance(arn, Refusal):
        return arn
    return arn.removeprefix(rules.base) if rules.base else arn


def decide_kube2iam(rules: Kube2iam, asked: Asked, facts: Facts) -> Decision:
    """Return the grant, or the refusal: those of `name_kube2iam`, ``other-role``, ``bad-role``, ``bad-external-id``."""
    arn = _kube2iam_mapped(rules, facts)
    if isinstance(arn, Refusal):
        return arn
    if roles.kube2iam_arn(rules.base, asked.role) != arn or arn == rules.base:
        return Refusal("other-role", f"Invalid role {asked.role}", f"the pod's role is {arn or 'none'}")
    session = roles.kube2iam_session(facts.caller.address, arn)
    external_id = facts.annotations.get(rules.external_id_key) or None
    return _grant(arn, session, rules.duration, external_id, f"annotation {rules.role_key}")


def _kube2iam_mapped(rules: Kube2iam, facts: Facts) -> str | Refusal:
    address = facts.caller.address
    text = facts.annotations.get(rules.role_key) or rules.default_role
    arn = roles.kube2iam_arn(rules.base, text)
    if not arn:
        return Refusal("no-role", f"unable to find role for IP {address}", f"annotate the pod with {rules.role_key}")
    if not rules.restrictions or arn == rules.base or arn == roles.kube2iam_arn(rules.base, rules.default_role):
        return arn
    patterns = pattern_list((facts.namespace or {}).get(rules.namespace_key, ""))
    try:
        if kube2iam_permits(patterns, arn, base=rules.base, written=rules.written):
            return arn
        reason, hint = "namespace-forbids", f"name it in the namespace's annotation {rules.namespace_key}"
    except BadInput as fault:
        reason, hint = "bad-pattern", f"annotation {rules.namespace_key}: {fault.message}"
    namespace = facts.caller.pod.namespace if isinstance(facts.caller, AtPodIp) else ""
    sentence = f"role requested {arn} not valid for namespace of pod at {address} with namespace {namespace}"
    return Refusal(reason, sentence, hint)


# --- kiam --------------------------------------------------------------------------------------------------


def name_kiam(rules: Kiam, facts: Facts) -> str | Refusal:
    """Return the annotation as kiam lists it, or the refusal ``no-role``.

    A slash before the name is left out: with it SDKs ask for ``…/security-credentials//name``.
    """
    name = facts.annotations.get(rules.role_key, "").removeprefix("/")
    return name or Refusal("no-role", "empty role", f"annotate the pod with {rules.role_key}")


def decide_kiam(rules: Kiam, asked: Asked, facts: Facts) -> Decision:
    """Return the grant, or the refusal: ``other-role``, ``namespace-forbids``, ``bad-pattern``, and as for kube2iam."""
    annotated = facts.annotations.get(rules.role_key, "")
    try:
        arn, requested = roles.kiam_arn(rules.base, annotated), roles.kiam_arn(rules.base, asked.role)
    except BadName as fault:
        return Refusal("no-role", fault.message, f"annotate the pod with {rules.role_key}")
    if arn != requested:
        return Refusal("other-role", f"requested '{asked.role}' but annotated with '{annotated}', forbidden")
    expression = (facts.namespace or {}).get(rules.namespace_key, "")
    try:
        permitted = kiam_permits(expression, arn, rules.rule)
    except BadInput as fault:
        return Refusal("bad-pattern", f"annotation {rules.namespace_key}: {fault.message}")
    if not permitted:
        shown = expression or "(empty)"
        sentence = f"namespace policy expression '{shown}' forbids role '{asked.role}'"
        return Refusal("namespace-forbids", sentence, f"permit it by the namespace's annotation {rules.namespace_key}")
    session = roles.kiam_session(facts.annotations.get(rules.session_key) or rules.session)
    external_id = facts.annotations.get(rules.external_id_key) if rules.external_ids else None
    because = f"annotation {rules.role_key}; namespace's {rules.namespace_key} {expression}"
    return _grant(arn, session, rules.duration, external_id or None, because)


# --- metadataproxy -----------------------------------------------------------------------------------------


def name_container(rules: Metadataproxy, facts: Facts) -> str | Refusal:
    """Return the container's role without its account, or ``no-role``, ``bad-role``, ``session-policy``."""
    role = _container_role(rules, facts)
    return role if isinstance(role, Refusal) else role.name


def decide_container(rules: Metadataproxy, asked: Asked, facts: Facts) -> Decision:
    """Return the grant, or one of the refusals before, ``other-role``, ``no-account``, ``bad-external-id``."""
    role = _container_role(rules, facts)
    if isinstance(role, Refusal):
        return role
    if asked.what == "credentials" and asked.role.removesuffix("/") != role.name:
        return Refusal("other-role", f"the container's role is {role.name}, and it asks for {asked.role[:100]}")
    account = role.account or rules.account or facts.account
    if not account:
        return Refusal("no-account", f"role {role.name} is in an unknown account", "set DEFAULT_ACCOUNT_ID")
    arn = f"arn:{role.partition or rules.partition}:iam::{account}:role/{role.name}"
    environment = _environment(facts)
    session = roles.container_session(_session_value(rules, facts))
    return _grant(arn, session, rules.duration, environment.get("IAM_EXTERNAL_ID") or None, "variable IAM_ROLE")


def _container_role(rules: Metadataproxy, facts: Facts) -> roles.ContainerRole | Refusal:
    environment = _environment(facts)
    if environment.get("IAM_POLICY"):
        return Refusal(
            "session-policy",
            "the container narrows its role by IAM_POLICY, which is not supported; without it it would get more",
            "leave IAM_POLICY out, or give it a role that may do no more",
        )
    text = environment.get("IAM_ROLE") or rules.default_role
    if not text:
        return Refusal("no-role", "the container has no IAM_ROLE, and there is no DEFAULT_ROLE", "set IAM_ROLE")
    try:
        return roles.container_role(text, rules.accounts)
    except BadName as fault:
        return Refusal("bad-role", fault.message, "see AWS_ACCOUNT_MAP")


def _environment(facts: Facts) -> Mapping[str, str]:
    return facts.caller.container.environment if isinstance(facts.caller, AtContainerIp) else {}


def _session_value(rules: Metadataproxy, facts: Facts) -> str:
    """Return what ROLE_SESSION_KEY names, ``Env:NAME`` or ``Labels:NAME``; nothing where that is not there."""
    where, _, name = rules.session_key.partition(":")
    if not isinstance(facts.caller, AtContainerIp):
        return ""
    container = facts.caller.container
    return {"Env": container.environment, "Labels": container.labels}.get(where, {}).get(name, "")


def _grant(arn: str, session: str, duration: int, external_id: str | None, because: str) -> Decision:
    """Return the grant of what was found, where AWS can have such a role, session and external id."""
    if external_id is not None and not _EXTERNAL_ID.fullmatch(external_id):
        return Refusal("bad-external-id", "the external id has a character or a length that STS does not take")
    try:
        spec = SessionSpec(check_session_name(session), duration, external_id=external_id)
        return Grant((Hop(RoleArn.parse(arn), spec),), (because,))
    except BadName as fault:
        return Refusal("bad-role", fault.message, "correct the annotation")

"""Condition keys of a request for a role session (Service Authorization Reference, IAM and STS)."""

from __future__ import annotations

from rolecall.core.policy.context import RequestContext
from rolecall.core.session import SessionSpec


def session_keys(spec: SessionSpec) -> RequestContext:
    """Return what a trust policy may ask about the session that is wanted.

    `sts:RoleSessionName`, `sts:ExternalId`, `sts:SourceIdentity`, `aws:RequestTag/…`, and the multivalued
    `aws:TagKeys` and `sts:TransitiveTagKeys`. A key without a value is absent.
    """
    single = {"sts:RoleSessionName": spec.name}
    if spec.external_id is not None:
        single["sts:ExternalId"] = spec.external_id
    if spec.source_identity is not None:
        single["sts:SourceIdentity"] = spec.source_identity
    single |= {f"aws:RequestTag/{key}": value for key, value in spec.tags.items()}
    many = {}
    if spec.tags:
        many["aws:TagKeys"] = tuple(spec.tags)
    if spec.transitive_keys:
        many["sts:TransitiveTagKeys"] = tuple(sorted(spec.transitive_keys))
    return RequestContext.of(single, many)

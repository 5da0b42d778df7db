"""The bodies that EC2's instance metadata service writes (EC2 User Guide; legacy-proxies.md §2.1-2.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rolecall.core.exchange import Headers, Reply
from rolecall.core.source import Issued

EC2 = ("server", "EC2ws")
_TEXT: Headers = (("content-type", "text/plain"), EC2)
_HTML: Headers = (("content-type", "text/html"), EC2)
_UNSTORED: Headers = (("content-type", "text/plain"), ("cache-control", "no-store"), EC2)
_TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_TITLES |= {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}
# The real service's 404 has the first encoding; its test double says UTF-8 in all others.
_ERROR = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{title}</title>
 </head>
 <body>
  <h1>{title}</h1>
 </body>
</html>
"""


def error(status: int, reason: str, headers: Headers = ()) -> Reply:
    """Return the service's page for a status; `reason` is the word that it is counted under, and not sent."""
    encoding = "iso-8859-1" if status == 404 else "UTF-8"
    page = _ERROR.format(encoding=encoding, title=f"{status} - {_TITLES.get(status, 'Error')}")
    return Reply(status, page.encode(), (*_HTML, *headers), reason)


def text(body: str | bytes) -> Reply:
    """Return a document or a name: plain text, without a newline at its end."""
    return Reply(200, body.encode() if isinstance(body, str) else body, _TEXT)


def listing(names: Sequence[str]) -> Reply:
    """Return what a directory holds, one name a line; directories end with a slash."""
    return text("\n".join(names))


def token(value: bytes, ttl: int) -> Reply:
    """Return a session token; SDKs want to see its seconds again."""
    return Reply(200, value, (*_UNSTORED, ("x-aws-ec2-metadata-token-ttl-seconds", str(ttl))))


def moment(seconds: float) -> str:
    """Return a time as the service writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def credential_members(issued: Issued, updated: float) -> Mapping[str, str]:
    """Return the members of a credentials document, in the service's order; `updated` is when they came."""
    found = issued.credentials
    return {
        "Code": "Success",
        "LastUpdated": moment(updated),
        "Type": "AWS-HMAC",
        "AccessKeyId": found.access_key_id,
        "SecretAccessKey": found.secret_access_key.reveal(),
        "Token": found.session_token.reveal(),
        "Expiration": moment(found.expires_at),
    }


def document(members: Mapping[str, str | None]) -> Reply:
    """Return a JSON document as the service prints it: one member a line, a space on both sides of the colon."""
    body = json.dumps(members, indent=2, separators=(",", " : "), ensure_ascii=True)
    return Reply(200, body.encode(), _UNSTORED)


def info_members(profile_arn: str, profile_id: str, updated: float) -> Mapping[str, str]:
    """Return the members of ``iam/info``."""
    return {
        "Code": "Success",
        "LastUpdated": moment(updated),
        "InstanceProfileArn": profile_arn,
        "InstanceProfileId": profile_id,
    }

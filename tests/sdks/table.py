"""Every SDK that is run here, and what it does: the one table of expectations.

Sources: attempts by status, sdk-clients.md §1.6; IPv6 §1.2; whether it shows the server's text §1.6 ("visible to users
only in boto and go2"); Retry-After §1.6. The error is how the SDK's own type is called, or what it says of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sdks import installed


@dataclass(frozen=True)
class Sdk:
    """One SDK.

    `attempts`: requests that one question to its provider makes when every answer has that status; `calls`: how often
    one operation asks the provider, where that cannot be asked alone. `error`: a pattern of what the caller gets
    then; `shows`: whether the server's text is in it. `ipv6`: whether fd00:ec2::23 is allowed, with `ipv6_needs` in
    the environment. `waits`: whether it waits as long as Retry-After says; None: it does not come again after a 429.
    """

    command: Callable[[], list[str]]
    attempts: Mapping[int, int]
    error: str
    calls: int = 1
    shows: bool = False
    ipv6: bool = True
    ipv6_needs: Mapping[str, str] = field(default_factory=dict)
    waits: bool | None = False


# Both hide the cause: v3 asks a second provider after the first (§1.7), v2 asks IMDS.
JS3_SAYS = r"^CredentialsProviderError: 169\.254\.170\.23 is not a valid container metadata service hostname$"
JS2_SAYS = "^Error: EC2 Metadata roleName request returned error$"
BOTO = {404: 3, 429: 3, 500: 3}
SDKS: Mapping[str, Sdk] = {
    "boto3": Sdk(installed.python("boto.py"), BOTO, "^CredentialRetrievalError", shows=True),
    "boto3-1.34.41": Sdk(installed.python("boto.py", "minimum.lock"), BOTO, "^CredentialRetrievalError", shows=True),
    "awscrt": Sdk(installed.python("crt.py"), {404: 1, 429: 4, 500: 4}, "^AwsCrtError"),
    "js-v3": Sdk(installed.javascript("v3.mjs"), {404: 4, 429: 4, 500: 4}, JS3_SAYS),
    "js-v2": Sdk(installed.javascript("v2.cjs"), {404: 1, 429: 4, 500: 4}, JS2_SAYS, ipv6=False, waits=True),
    "go-v2": Sdk(installed.go, {404: 1, 429: 3, 500: 3}, "^failed to refresh cached credentials", shows=True),
    "rust": Sdk(
        installed.rust, {404: 1, 429: 1, 500: 3}, "Non-success status from HTTP credential provider", waits=None
    ),
    "java-v2": Sdk(
        installed.java,
        {404: 1, 429: 1, 500: 6},
        r"^software\.amazon\.awssdk\.core\.exception\.SdkClientException: Unable to load credentials",
        ipv6_needs={"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"},
        waits=None,
    ),
    "cpp": Sdk(
        installed.python("arrow.py", "arrow.lock"),
        {404: 1, 429: 2, 500: 2},
        "^the request is not signed$",
        calls=4,
    ),
}

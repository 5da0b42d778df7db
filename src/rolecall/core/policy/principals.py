"""The Principal element of a trust policy: who may be named, and how.

Source: IAM User Guide, "AWS JSON policy elements: Principal".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rolecall.core.policy.json_tree import Node
from rolecall.core.policy.match import Principals

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)
_AWS_PRINCIPAL = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):"
    r"(?:iam::(?P<account>[0-9]{12}):(?:(?P<root>root)|(?:user|role)/[!-~]+)"
    r"|sts::[0-9]{12}:(?:assumed-role/[!-~]+/[!-~]+|federated-user/[!-~]+))",
    re.ASCII,
)
_SERVICE = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII)
_PROVIDER = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(?:oidc|saml)-provider/[!-)+-~]+", re.ASCII)


@dataclass(slots=True)
class _Named:
    """What a principal map names, while it is being read."""

    everyone: bool = False
    arns: set[str] = field(default_factory=set)
    accounts: set[tuple[str, str]] = field(default_factory=set)
    services: set[str] = field(default_factory=set)
    providers: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)

    def add(self, kind: Node, name: str, value: Node) -> None:
        """Add one value of the member `kind`, whose key is `name`."""
        if name == "AWS":
            self._add_aws(value)
        elif name == "Service":
            if not _SERVICE.fullmatch(value.text()):
                value.fail("Invalid principal in policy: a service looks like pods.eks.amazonaws.com")
            self.services.add(value.text())
        elif name == "Federated":
            # The few providers without an ARN (accounts.google.com) look as services do.
            if not _PROVIDER.fullmatch(value.text()) and not _SERVICE.fullmatch(value.text()):
                value.fail(
                    "Invalid principal in policy: a provider looks like"
                    " arn:aws:iam::123456789012:oidc-provider/host/path"
                )
            self.providers.add(value.text())
        else:
            kind.fail("is not a kind of principal that a role can trust: AWS, Service and Federated are")
        self.texts.append(value.text())

    def _add_aws(self, value: Node) -> None:
        text = value.text()
        if text == "*":
            self.everyone = True
        elif _ACCOUNT.fullmatch(text):
            self.accounts.add(("", text))
        elif "*" in text or "?" in text:
            value.fail('a wildcard may only be the whole principal, "*": an ARN names one user, role or session')
        elif (found := _AWS_PRINCIPAL.fullmatch(text)) is None:
            value.fail(
                "Invalid principal in policy: name an account id, or the ARN of an account, user, role or role session"
            )
        elif found["root"]:
            self.accounts.add((found["partition"], found["account"]))
        else:
            self.arns.add(text)


def read_principals(node: Node) -> Principals:
    """Read a Principal element, or raise `BadPolicy` with the path of the fault."""
    if not node.is_object:
        if node.text() != "*":
            node.fail('must be "*" or an object with AWS, Service or Federated')
        return Principals(everyone=True, texts=("*",))
    members = node.fields()
    if not members:
        node.fail("must name at least one principal")
    named = _Named()
    for name, member in members.items():
        values = member.elements()
        if not values:
            member.fail("must name at least one principal")
        for value in values:
            named.add(member, name, value)
    return Principals(
        everyone=named.everyone,
        arns=frozenset(named.arns),
        accounts=frozenset(named.accounts),
        services=frozenset(named.services),
        providers=frozenset(named.providers),
        texts=tuple(named.texts),
    )

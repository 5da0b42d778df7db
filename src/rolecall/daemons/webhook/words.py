"""Every reason and note of an admission: the words that are logged, counted, and shown by kubectl.

A reason says how a review ended, a note what else there is to know about it. ``docs/reference/webhook.md`` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """What a word says, whether kubectl shows it, and whether a container goes without its role for it."""

    meaning: str
    warns: bool = False
    costs: bool = False


REASONS: dict[str, Word] = {
    "injected": Word("at least one container was given what it needs to ask for its role"),
    "already-injected": Word("everything was there already: the pod has been through the webhook before"),
    "already-set": Word("every container sets one of the pair of variables itself; the detail names it", costs=True),
    "neither": Word("the service account has neither an association nor a role-arn annotation", costs=True),
    "no-service-account": Word("the service account is not known to the webhook", warns=True, costs=True),
    "skipped-by-label": Word("the pod has the label eks.amazonaws.com/skip-pod-identity-webhook", costs=True),
    "skipped-containers": Word("skip-containers or include-containers leave no container to inject", costs=True),
    "host-network-skipped": Word("the pod uses the node's network, and such pods are skipped here", True, True),
    "no-agent-possible": Word(
        "only Pod Identity has a role for it, and no agent serves Fargate or Windows", True, True
    ),
    "empty-audience": Word("an empty audience would make a token for the Kubernetes API itself", True, True),
    "volume-name-taken": Word("the pod has another volume by the name that the token's volume needs", True, True),
    "mount-path-taken": Word("something else is mounted where the token has to be", True, True),
    "not-a-pod": Word("the object is no pod"),
    "not-a-creation": Word("only the creation of a pod is changed, neither an update nor a deletion"),
    "sub-resource": Word("the request is for a part of a pod, such as its ephemeral containers"),
    "unreadable-pod": Word("the pod cannot be read; the request is denied with 422", costs=True),
}

NOTES: dict[str, Word] = {
    "already-set": Word("a container sets one of the pair of variables itself, and keeps it; the detail names it"),
    "half-set": Word("a container sets one of the pair and lacks the other: its SDK finds no role", True, True),
    "mount-path-taken": Word("something else is mounted where a container's token has to be", True, True),
    "no-agent-possible": Word("the association is passed over for the annotation: no agent serves Fargate or Windows"),
    "bad-role-arn": Word("STS will refuse what the annotation names: it is no role ARN", warns=True, costs=True),
    "bad-annotation": Word("an annotation cannot be read and is passed over; the detail names it", warns=True),
    "unknown-container": Word("skip-containers or include-containers name a container that is not there", warns=True),
    "host-network": Word("the pod uses the node's network, where it may reach the node's own role too", warns=True),
    "shadowed": Word("a container sets a variable that its SDK looks at first; the detail names it", warns=True),
    "no-proxy-unseen": Word("NO_PROXY comes from elsewhere; it has to name the agent's addresses", warns=True),
    "session-name-unusable": Word("the pod's name is too long or too short for a role session name", warns=True),
    "no-loopback": Word("the pod asks for a loopback address, and none is set here", warns=True),
}


@dataclass(frozen=True, slots=True)
class Note:
    """A word of `NOTES` with its detail, and the sentence for who made the pod."""

    word: str
    detail: str
    sentence: str

    @property
    def text(self) -> str:
        """The word and its detail, as in an audit annotation."""
        return f"{self.word}:{self.detail}" if self.detail else self.word

"""Objects as people keep them in files: where the pod is in each, and what the webhook would make of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rolecall.daemons.webhook import review
from rolecall.daemons.webhook.patch import Operation
from rolecall.daemons.webhook.rules import Facts, Rules
from rolecall.errors import BadInput

Document = dict[str, Any]
_TEMPLATE = ("spec", "template")
# Where the pod is, by group and kind (Kubernetes API reference, Workload Resources).
_PODS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
_MEANT = {"injected", "already-injected"}


@dataclass(frozen=True, slots=True)
class Mutated:
    """An object after the webhook: what it is called, its patch and the answer; None for what has no pod."""

    name: str
    document: Document
    operations: list[Operation]
    answer: review.Answer | None

    @property
    def injected(self) -> bool:
        """Whether its pods get their role."""
        return self.answer is not None and self.answer.verdict.allowed and self.answer.word in _MEANT


@dataclass(frozen=True, slots=True)
class Accounts:
    """The service accounts of a file, by namespace and name; None where no file was given: all of them are plain."""

    by_name: dict[tuple[str, str], dict[str, str]] | None
    association_id: str | None

    def facts(self, account: review.Account) -> Facts:
        """Return what the webhook would know of it."""
        known = self.by_name
        annotations = {} if known is None else known.get((account.namespace, account.name))
        return Facts(annotations, self.association_id)


def objects(documents: Iterable[Any]) -> Iterator[Document]:
    """Return the objects in documents, those of a List one by one; raises `BadInput` for what is no object."""
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise BadInput("a document is no Kubernetes object: it has no kind")
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            yield from objects(document["items"])
        else:
            yield document


def accounts(documents: Iterable[Any], namespace: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return annotations of service accounts; those without a namespace are in `namespace`."""
    found = {}
    for document in objects(documents):
        if document["kind"] == "ServiceAccount":
            where, name = _names(document, namespace)
            annotations = (document.get("metadata") or {}).get("annotations") or {}
            found[where, name] = {str(key): str(value) for key, value in annotations.items()}
    if not found:
        raise BadInput("there is no ServiceAccount in the file of service accounts")
    return found


def mutate(document: Document, namespace: str, known: Accounts, rules: Rules) -> Mutated:
    """Return what the webhook makes of an object; its pods' names are made up by the API server, but for a Pod's own.

    Nothing is drawn by lot: tokens live as long as they would at most.
    """
    where, name = _names(document, namespace)
    called = f"{document['kind']} {where}/{name}"
    path = _PODS.get((str(document.get("apiVersion", "")).rpartition("/")[0], document["kind"]))
    if path is None:
        return Mutated(called, document, [], None)
    document = copy.deepcopy(document)
    pod = _at(document, path, called)
    if path and not pod.get("metadata"):
        pod["metadata"] = {}
    asked = review.review_of(pod, where)
    facts = known.facts(asked.account) if asked.account else Facts()
    answer = review.answer(asked, facts, rules, float)
    operations = answer.operations or []
    prefix = "".join(f"/{part}" for part in path)
    apply(pod, operations)
    return Mutated(called, document, [{**one, "path": prefix + one["path"]} for one in operations], answer)


def apply(document: Any, operations: list[Operation]) -> None:
    """Apply our own operations (``add``, ``replace``) to a document, in place."""
    for operation in operations:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        place = document
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if not isinstance(place, list):
            place[last] = operation["value"]
        elif operation["op"] == "replace":
            place[int(last)] = operation["value"]
        else:
            place.insert(len(place) if last == "-" else int(last), operation["value"])


def _at(document: Document, path: tuple[str, ...], called: str) -> Document:
    found: Any = document
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise BadInput(f"{called} has no pod template at {'.'.join(path)}")
    return found


def _names(document: Document, namespace: str) -> tuple[str, str]:
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadInput(f"the metadata of a {document['kind']} is no object")
    name = metadata.get("name") or metadata.get("generateName") or "?"
    return str(metadata.get("namespace") or namespace), str(name)

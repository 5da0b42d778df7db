"""The webhook's manifests fit one another, and the program; a real API server takes them in tests/cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rolecall.daemons.webhook.config import WebhookConfig, read_config
from rolecall.daemons.webhook.door import PATIENCE
from rolecall.daemons.webhook.rules import INJECT_LABEL, REQUIRED, SKIP_LABEL
from rolecall.daemons.webhook.sources.config_map import NAME as CONFIG_MAP

DIRECTORY = Path(__file__).resolve().parents[3] / "deploy" / "kustomize" / "webhook"
Thing = dict[str, Any]


def manifests() -> dict[tuple[str, str], Thing]:
    """All objects that the kustomization names, by kind and name."""
    listed = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in DIRECTORY.iterdir())
    found = [one for name in listed for one in yaml.safe_load_all((DIRECTORY / name).read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def one(kind: str) -> Thing:
    """The only object of a kind."""
    (found,) = [thing for (of, _), thing in manifests().items() if of == kind]
    return found


@pytest.fixture
def pod() -> Thing:
    return dict(one("Deployment")["spec"]["template"]["spec"])


@pytest.fixture
def config(pod: Thing) -> WebhookConfig:
    """The settings that the Deployment's arguments are."""
    command, noun, *arguments = [*pod["containers"][0]["args"]]
    assert (command, noun) == ("webhook", "serve")
    return read_config(["serve", *arguments], {})


def test_its_pods_may_do_nothing_on_their_node(pod: Thing) -> None:
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod.keys()


def test_it_outlives_the_loss_of_a_node_and_its_own_end(pod: Thing, config: WebhookConfig) -> None:
    assert one("Deployment")["spec"]["replicas"] >= 2
    assert one("PodDisruptionBudget")["spec"]["minAvailable"] >= 1
    assert pod["terminationGracePeriodSeconds"] > config.shutdown_delay + PATIENCE


def test_its_ports_are_those_that_it_is_told(pod: Thing, config: WebhookConfig) -> None:
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {"reviews": config.port, "metrics": config.metrics_port}
    assert config.port > 1024, "a lower one is for root"
    assert [port["targetPort"] for port in one("Service")["spec"]["ports"]] == ["reviews"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert pod["containers"][0][probe]["httpGet"]["port"] == "metrics"


def test_api_servers_call_the_service_that_its_certificate_is_for(config: WebhookConfig) -> None:
    service = one("Service")["metadata"]
    assert (config.service, str(config.namespace)) == (service["name"], service["namespace"])
    configuration = one("MutatingWebhookConfiguration")
    assert configuration["metadata"]["name"] == config.tls.webhook_config
    for webhook in configuration["webhooks"]:
        assert webhook["clientConfig"] == {"service": {**_place(service), "path": "/mutate"}}


def test_every_pod_but_its_own_is_for_exactly_one_entry() -> None:
    """By label: with the entry's failurePolicy, or None where no entry asks about it."""

    def policies(labels: dict[str, str], namespace: str = "carts") -> list[str]:
        there = {"kubernetes.io/metadata.name": namespace}
        return [
            webhook["failurePolicy"]
            for webhook in one("MutatingWebhookConfiguration")["webhooks"]
            if _selects(webhook["objectSelector"], labels) and _selects(webhook["namespaceSelector"], there)
        ]

    assert policies({}) == ["Ignore"]
    assert policies({INJECT_LABEL: "please"}) == ["Ignore"]
    assert policies({INJECT_LABEL: REQUIRED}) == ["Fail"]
    assert policies({SKIP_LABEL: ""}) == []
    assert policies({SKIP_LABEL: "", INJECT_LABEL: REQUIRED}) == ["Fail"], "refused, for it asks for both"
    assert policies({INJECT_LABEL: REQUIRED}, one("Namespace")["metadata"]["name"]) == []


def test_only_new_pods_are_asked_about() -> None:
    for webhook in one("MutatingWebhookConfiguration")["webhooks"]:
        (rule,) = webhook["rules"]
        assert (rule["operations"], rule["resources"], rule["apiGroups"]) == (["CREATE"], ["pods"], [""])
        assert webhook["sideEffects"] == "None"
        assert webhook["timeoutSeconds"] <= PATIENCE


def test_its_rights_are_what_it_uses_and_no_more(config: WebhookConfig) -> None:
    rights = {
        (kind, rule["resources"][0]): (sorted(rule["verbs"]), rule.get("resourceNames"))
        for kind in ("ClusterRole", "Role")
        for rule in one(kind)["rules"]
        if "create" not in rule["verbs"]
    }
    assert rights == {
        ("ClusterRole", "serviceaccounts"): (["get", "list", "watch"], None),
        ("ClusterRole", "mutatingwebhookconfigurations"): (["get", "patch"], [config.tls.webhook_config]),
        ("Role", "secrets"): (["get", "update"], [config.tls.secret]),
        ("Role", "configmaps"): (["get", "list", "watch"], [CONFIG_MAP]),
    }
    created = [rule for kind in ("ClusterRole", "Role") for rule in one(kind)["rules"] if "create" in rule["verbs"]]
    assert created == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        (subject,) = one(kind)["subjects"]
        assert _place(subject) == _place(one("ServiceAccount")["metadata"])


def _place(thing: Thing) -> Thing:
    return {"name": thing["name"], "namespace": thing["namespace"]}


def _selects(selector: Thing, labels: dict[str, str]) -> bool:
    """Kubernetes' label selectors, as far as they are used here."""
    meanings = {
        "In": lambda rule: labels.get(rule["key"]) in rule["values"],
        "NotIn": lambda rule: labels.get(rule["key"]) not in rule["values"],
        "DoesNotExist": lambda rule: rule["key"] not in labels,
    }
    return all(meanings[rule["operator"]](rule) for rule in selector["matchExpressions"])

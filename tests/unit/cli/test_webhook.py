"""``rolecall webhook mutate``: files in, objects and reasons out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from json_patch import applied
from rolecall.cli.webhook import webhook
from rolecall.errors import BadInput

ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: carts, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/carts"}}
"""
TEMPLATE = "{metadata: {labels: {app: x}}, spec: {serviceAccountName: carts, containers: [{name: app, tty: yes}]}}"
WORKLOADS = {
    "Pod": f"{{apiVersion: v1, kind: Pod, {TEMPLATE[1:]}",
    "PodTemplate": f"{{apiVersion: v1, kind: PodTemplate, template: {TEMPLATE}}}",
    "Deployment": f"{{apiVersion: apps/v1, kind: Deployment, spec: {{template: {TEMPLATE}}}}}",
    "Job": f"{{apiVersion: batch/v1, kind: Job, spec: {{template: {TEMPLATE}}}}}",
    "CronJob": f"{{apiVersion: batch/v1, kind: CronJob, spec: {{jobTemplate: {{spec: {{template: {TEMPLATE}}}}}}}}}",
}


def run(tmp_path: Path, text: str, *words: str, account: str = ACCOUNT) -> Result:
    """Run the command on a text, with a file of service accounts."""
    (tmp_path / "sa.yaml").write_text(account)
    whole = ["mutate", "-f", "-", "--service-account-file", str(tmp_path / "sa.yaml"), *words]
    return CliRunner().invoke(webhook, whole, input=text, standalone_mode=False)


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_pod_is_found_in_every_workload(tmp_path: Path, kind: str) -> None:
    """Where Kubernetes' reference has it; the patch is the whole object's."""
    text = WORKLOADS[kind]
    done = run(tmp_path, text)
    assert done.return_value == 0, done.output
    assert f"{kind} default/?: injected" in done.stderr
    (mutated,) = yaml.safe_load_all(done.stdout)
    assert "AWS_ROLE_ARN" in json.dumps(mutated)
    operations = json.loads(run(tmp_path, text, "-o", "patch").stdout)
    assert applied(yaml.safe_load(text), operations) == mutated


def test_documents_are_passed_through_in_order(tmp_path: Path) -> None:
    """Several documents, Lists, and what has no pod; a time stays the text that it is."""
    others = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {creationTimestamp: 2026-01-01T00:00:00Z}\n---\n"
    items = f"---\napiVersion: v1\nkind: List\nitems: [{WORKLOADS['Job']}]\n"
    done = run(tmp_path, WORKLOADS["Pod"] + "\n" + others + items, "-o", "json")
    assert done.return_value == 0
    found = json.loads(done.stdout)["items"]
    assert [one["kind"] for one in found] == ["Pod", "ConfigMap", "Job"]
    assert found[1]["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"


def test_a_pod_without_its_role_is_one(tmp_path: Path) -> None:
    """The reason goes to stderr, the object as it came to stdout."""
    done = run(tmp_path, WORKLOADS["Pod"].replace("serviceAccountName: carts", "serviceAccountName: other"))
    assert done.return_value == 1
    assert "Pod default/?: no-service-account: service account default/other is not known" in done.stderr
    assert "AWS_" not in done.stdout


def test_an_association_goes_first(tmp_path: Path) -> None:
    """And no lot is drawn: the lifetime is the longest."""
    done = run(tmp_path, WORKLOADS["Pod"], "--association", "a-1", "-o", "json")
    assert "injected for Pod Identity: association a-1" in done.stderr
    assert '"expirationSeconds": 86400' in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "a: [",
        "[1]",
        "kind: Service",
        "kind: Deployment\napiVersion: apps/v1",
        "? [1]\n: 2",
        "!!python/object:a.b {}",
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    """No trace: what is wrong, in a line."""
    done = run(tmp_path, text)
    assert isinstance(done.exception, BadInput), done.output
    assert len(done.exception.message) < 500


def test_a_file_without_accounts(tmp_path: Path) -> None:
    """A file that was meant for something else."""
    assert isinstance(run(tmp_path, WORKLOADS["Pod"], account="kind: Secret").exception, BadInput)

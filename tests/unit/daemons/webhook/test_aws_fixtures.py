"""AWS's webhook's own tests, judging ours: its pods and the patches that it expects, byte for byte in strict mode.

Each file is a pod whose ``testing.eks.amazonaws.com`` annotations say what is set and what is expected; how they are
read is that of its runner (pkg/handler/handler_pod_test.go).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from json_patch import applied
from rolecall.core.names import Region
from rolecall.daemons.webhook import review
from rolecall.daemons.webhook.rules import Facts, Rules

FILES = sorted((Path(__file__).parents[3] / "corpus" / "aws-webhook").glob("*.pod.yaml"))
HALF = "the volume by the token's name is another one: AWS's webhook injects half, and the token would not be there"
# Where we differ by choice, and why (docs/reference/webhook.md): nothing is injected, and kubectl says so.
LEFT_ALONE = {
    "containercredentials-rawPodWithConflictingVolumeMount": HALF,
    "rawPodHasVolumeMount": HALF,
}
DOMAIN = "testing.eks.amazonaws.com/"


class Fixture:
    """One file: its pod, and what its annotations say."""

    def __init__(self, path: Path) -> None:
        self.pod: dict[str, Any] = next(yaml.safe_load_all(path.read_text()))
        self.pod["metadata"]["namespace"] = self.pod["spec"]["serviceAccountName"] = "default"
        notes = self.pod["metadata"].get("annotations", {})
        self.said = {key.removeprefix(DOMAIN): text for key, text in notes.items() if key.startswith(DOMAIN)}
        assert self.said["skip"] == "false", "its runner would leave it out"
        self.expected = self.said.get("expectedPatch", "null")

    @property
    def facts(self) -> Facts:
        """The service account, with settings of the handler where the account has none; and whether it is listed."""
        places = {
            "role-arn": ("serviceAccount/roleArn",),
            "audience": ("serviceAccount/audience",),
            "sts-regional-endpoints": ("serviceAccount/sts-regional-endpoints", "handler/injectSTS"),
            "token-expiration": ("serviceAccount/token-expiration", "handler/expiration"),
        }
        found = {
            f"eks.amazonaws.com/{name}": self.said[place]
            for name, read in places.items()
            for place in reversed(read)
            if place in self.said
        }
        return Facts(found, "listed" if self.said.get("containercredentials/uri") else None)

    def rules(self, *, strict: bool) -> Rules:
        """The settings: those that are not written are AWS's defaults."""
        places = {
            "mount_path": "handler/mountPath",
            "full_uri": "containercredentials/uri",
            "pod_identity_audience": "containercredentials/audience",
            "pod_identity_mount_path": "containercredentials/mountPath",
            "pod_identity_volume": "containercredentials/volumeName",
            "pod_identity_token_path": "containercredentials/tokenPath",
        }
        given: dict[str, Any] = {name: self.said[place] for name, place in places.items() if place in self.said}
        if "handler/region" in self.said:
            given["region"] = Region(self.said["handler/region"])  # not parsed: one of them is "seattle"
        return Rules(**given, strict=strict)

    def patch(self, *, strict: bool) -> bytes:
        """Return what our webhook answers. AWS's dice show nought for the shortest lifetime, ours their most."""
        request = {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": "default",
            "object": self.pod,
        }
        kind = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        asked = review.read(json.dumps(kind | {"request": request}).encode())
        answer = review.answer(asked, self.facts, self.rules(strict=strict), lambda: 0.99999)
        return base64.b64decode(json.loads(answer.body)["response"].get("patch", "bnVsbA=="))


def normal(pod: Any) -> Any:
    """Return a pod without what Go writes for fields that are not set."""
    if isinstance(pod, list):
        return [normal(one) for one in pod]
    if isinstance(pod, dict):
        kept = {key: normal(value) for key, value in pod.items()}
        return {
            key: value
            for key, value in kept.items()
            if not (key == "resources" and value == {}) and not (key == "service" and value is None)
        }
    return pod


@pytest.mark.parametrize("path", FILES, ids=[path.name.partition(".")[0] for path in FILES])
def test_its_fixture(path: Path) -> None:
    fixture = Fixture(path)
    if path.name.partition(".")[0] in LEFT_ALONE:
        assert fixture.expected != "null"
        assert fixture.patch(strict=True) == fixture.patch(strict=False) == b"null"
        return
    assert fixture.patch(strict=True).decode() == fixture.expected
    wanted = applied(fixture.pod, json.loads(fixture.expected) or [])
    assert normal(applied(fixture.pod, json.loads(fixture.patch(strict=False)) or [])) == normal(wanted)


def test_all_of_them_are_there() -> None:
    assert len(FILES) == 24
    assert {path.name.partition(".")[0] for path in FILES} >= LEFT_ALONE.keys()

"""A ``kill -9`` in the middle of writes: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from integration.dev_plane import CLUSTER, POD_ROLE, SETUP, DevPlane, role_arn

WRITES, KILLED_AFTER = 1000, 400


@pytest.mark.timeout(180)
def test_no_acknowledged_association_is_lost(new_plane: Callable[..., DevPlane]) -> None:
    """1,000 writes by four clients; the plane is killed after 400 answers, restarted, and asked."""
    plane = new_plane().start()
    assert plane.shell(str(SETUP)).returncode == 0
    acknowledged: dict[str, str] = {}
    enough = threading.Event()

    def write(numbers: range) -> None:
        eks = plane.client("eks", config=Config(retries={"total_max_attempts": 1}))
        for number in numbers:
            name = f"sa-{number}"
            try:
                made = eks.create_pod_identity_association(
                    clusterName=CLUSTER, namespace="crash", serviceAccount=name, roleArn=role_arn(POD_ROLE)
                )
            except (BotoCoreError, ClientError):
                return  # it has been killed
            acknowledged[name] = made["association"]["associationId"]
            if len(acknowledged) >= KILLED_AFTER:
                enough.set()

    writers = [threading.Thread(target=write, args=(range(start, WRITES, 4),)) for start in range(4)]
    for writer in writers:
        writer.start()
    assert enough.wait(120)
    plane.stop(signal.SIGKILL)
    for writer in writers:
        writer.join()
    assert KILLED_AFTER <= len(acknowledged) < WRITES, "it was killed in the middle"

    plane.start()
    eks = plane.client("eks")
    kept = {
        one["serviceAccount"]: one["associationId"]
        for page in eks.get_paginator("list_pod_identity_associations").paginate(clusterName=CLUSTER)
        for one in page["associations"]
    }
    assert acknowledged.items() <= kept.items()
    assert len(kept) - len(acknowledged) <= len(writers), "at most one unanswered write of each client"
    for name, identifier in kept.items():
        whole = eks.describe_pod_identity_association(clusterName=CLUSTER, associationId=identifier)["association"]
        assert (whole["serviceAccount"], whole["roleArn"]) == (name, role_arn(POD_ROLE))
        assert whole["associationArn"].endswith(identifier)

"""Service accounts of the laptop world: annotations, and what is associated."""

from __future__ import annotations

import pytest

from plane_in_process import Plane
from unit.daemons.local_aws.apiserver.laptop import CLUSTER, Laptop, fault

ACCOUNTS = f"/clusters/{CLUSTER}/serviceaccounts"
CARTS = f"{ACCOUNTS}/carts/carts"
ROLE_ARN = "eks.amazonaws.com/role-arn"


@pytest.fixture
def laptop(plane: Plane) -> Laptop:
    """A cluster."""
    return Laptop(plane)


def annotate(laptop: Laptop, **annotations: str | None) -> dict[str, str]:
    """Change annotations of carts/carts (of eks.amazonaws.com, ``_`` stands for ``-``); return all of them."""
    named = {f"eks.amazonaws.com/{key.replace('_', '-')}": value for key, value in annotations.items()}
    found: dict[str, str] = laptop.told("PUT", CARTS, {"annotations": named})["annotations"]
    return found


def test_annotations_are_set_and_removed_one_by_one(laptop: Laptop) -> None:
    """Others stay as they are; null removes, and removes nothing twice."""
    assert annotate(laptop, role_arn="arn", audience="a") == {ROLE_ARN: "arn", "eks.amazonaws.com/audience": "a"}
    assert annotate(laptop, audience="b")[ROLE_ARN] == "arn"
    assert annotate(laptop, audience=None) == {ROLE_ARN: "arn"}
    assert annotate(laptop, audience=None, role_arn="") == {ROLE_ARN: ""}
    laptop.plane.restart()
    assert laptop.told("GET", CARTS)["annotations"] == {ROLE_ARN: ""}


def test_an_account_that_nobody_touched_answers(refusing: Laptop) -> None:
    """With nothing, and asking makes nothing."""
    before = refusing.plane.tables()
    assert refusing.told("GET", CARTS) == {
        "cluster": "demo",
        "namespace": "carts",
        "name": "carts",
        "uid": "",
        "annotations": {},
        "association": None,
    }
    assert refusing.plane.tables() == before


def test_an_account_shows_its_association(laptop: Laptop) -> None:
    """What rolecall run reads to choose the generation."""
    made = laptop.associate(laptop.role("demo"), targetRoleArn="arn:aws:iam::210987654321:role/target")
    found = laptop.told("GET", f"{ACCOUNTS}/demo-ns/demo-sa")["association"]
    assert found == {key: made[key] for key in ("associationId", "associationArn", "roleArn", "targetRoleArn")}


def test_accounts_are_listed(laptop: Laptop) -> None:
    """Those that were annotated, associated or ran a pod, by namespace and name, of their cluster only."""
    laptop.cluster("second")
    laptop.associate(laptop.role("demo"), "associated")
    annotate(laptop, role_arn="arn")
    laptop.pod("ran")
    laptop.pod("elsewhere", cluster="second")
    found = laptop.told("GET", ACCOUNTS)["accounts"]
    assert [(one["namespace"], one["name"]) for one in found] == [
        ("carts", "carts"),
        ("demo-ns", "associated"),
        ("demo-ns", "ran"),
    ]
    assert [bool(one["association"]) for one in found] == [False, True, False]


def test_a_uid_is_for_life(laptop: Laptop) -> None:
    """Made when something first needs it, and kept."""
    annotate(laptop, role_arn="arn")
    uid = laptop.told("GET", CARTS)["uid"]
    annotate(laptop, role_arn=None)
    assert uid
    assert laptop.told("GET", CARTS)["uid"] == uid


# Kubernetes, "Annotations", syntax: [prefix/]name; ValidateAnnotations folds case first.
KEYS = {
    "a name alone": ("name", True),
    "capitals and dots": ("example.com/My_name.1", True),
    "63 characters": ("a/" + "n" * 63, True),
    "64 characters": ("a/" + "n" * 64, False),
    "empty": ("", False),
    "empty name": ("example.com/", False),
    "empty prefix": ("/name", False),
    "two slashes": ("a/b/c", False),
    "case does not matter": ("Example.COM/Name", True),
    "a prefix that starts with a dash": ("-a/name", False),
    "other scripts": ("nämé", False),
    "a prefix with two dots": ("example..com/name", False),
    "a prefix of 253": ("a" * 253 + "/name", True),
    "a prefix of 254": ("a" * 254 + "/name", False),
    "a blank": ("my name", False),
    "a newline at its end": ("name\n", False),
    "a dash at its end": ("name-", False),
}


@pytest.mark.parametrize(("key", "legal"), KEYS.values(), ids=KEYS)
def test_illegal_keys_are_refused_whole(laptop: Laptop, key: str, legal: bool) -> None:
    """One illegal key among good ones: 400, and nothing of the call is written."""
    before = laptop.plane.tables()
    reply = laptop.ask("PUT", CARTS, {"annotations": {ROLE_ARN: "arn", key: "x", "later": "y"}})
    if legal:
        assert laptop.told("GET", CARTS)["annotations"] == {ROLE_ARN: "arn", key: "x", "later": "y"}
    else:
        assert fault(reply) == (400, "InvalidParameterException")
        assert laptop.plane.tables() == before


@pytest.mark.parametrize(
    "body",
    [{}, {"annotations": []}, {"annotations": {"a": 1}}, {"annotations": None}, {"annotations": {}, "labels": {}}],
)
def test_unreadable_changes_write_nothing(refusing: Laptop, body: dict[str, object]) -> None:
    """400."""
    before = refusing.plane.tables()
    assert fault(refusing.ask("PUT", CARTS, body)) == (400, "InvalidParameterException")
    assert refusing.plane.tables() == before


def test_annotations_are_bounded(laptop: Laptop) -> None:
    """256 KiB an object, counted over all calls, as in Kubernetes."""
    half = "x" * (130 * 1024)
    annotate(laptop, first=half)
    reply = laptop.ask("PUT", CARTS, {"annotations": {"second": half}})
    assert fault(reply) == (400, "InvalidParameterException")
    assert list(laptop.told("GET", CARTS)["annotations"]) == ["eks.amazonaws.com/first"]
    wide = laptop.ask("PUT", CARTS, raw=('{"annotations": {"third": "' + "ä" * (70 * 1024) + '"}}').encode())
    assert fault(wide) == (400, "InvalidParameterException"), "bytes count, not letters"

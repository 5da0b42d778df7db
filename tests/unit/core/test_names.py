"""Names are parsed or refused: forms from the API references of IAM, STS and EKS and from Kubernetes."""

from __future__ import annotations

import copy
import pickle
import string

import pytest
from botocore.utils import ArnParser
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.names import (
    AccountId,
    Arn,
    ClusterName,
    Name,
    Namespace,
    Partition,
    PodName,
    Region,
    RoleArn,
    ServiceAccountName,
)
from rolecall.errors import BadName

LABEL = "a" + "-b" * 31  # 63 characters
GOOD: dict[type[Name], list[str]] = {
    Partition: ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-eusc"],
    AccountId: ["123456789012", "000000000000"],
    Region: ["us-west-2", "us-gov-east-1", "us-isob-east-1", "eusc-de-east-1", "ap-southeast-10", "mx-central-1"],
    Namespace: ["a", "0", "demo-ns", "1-2", LABEL],
    ServiceAccountName: ["default", "a.b", "0.1-2.c", LABEL, ".".join([LABEL] * 3)],
    PodName: ["demo-5d9c7f-x2x4z", "kube-proxy-ip-10-0-0-1.ec2.internal"],
    ClusterName: ["a", "0", "eks-pod-identity-demo", "A_b-C", "a" * 100],
}
BAD: dict[type[Name], list[str]] = {
    Partition: ["AWS", "aws-", "-aws", "aws--cn", "aws_cn", "awscn", "aws-CN", "aws-" + "a" * 40],
    AccountId: ["12345678901", "1234567890123", "12345678901a", "aws", "-12345678901", "1234 5678901"],
    Region: ["us-west", "west-2", "US-WEST-2", "us_west_2", "us-west-2a", "us--west-2", "us-west-222", "local"],
    Namespace: ["A", "-a", "a-", "a.b", "a_b", "a b", "a/b", "ä", LABEL + "b", "default:x"],
    ServiceAccountName: ["A", "-a", "a-", "a..b", ".a", "a.", "a.-b", "a_b", "a:b", "a" * 254],
    PodName: ["A", "pod_1", "a/b", "a" * 254],
    ClusterName: ["-a", "_a", "a.b", "a b", "ä", "a" * 101],
}
EVERY = [pytest.param(kind, text, id=f"{kind.__name__}-{text[:24]}") for kind, texts in GOOD.items() for text in texts]
NONE = [pytest.param(kind, text, id=f"{kind.__name__}-{text[:24]}") for kind, texts in BAD.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), EVERY)
def test_a_good_name_is_itself(kind: type[Name], text: str) -> None:
    """It is the text, of its own type, and survives copying."""
    name = kind.parse(text)
    assert (name, type(name)) == (text, kind)
    assert type(copy.deepcopy(name)) is type(pickle.loads(pickle.dumps(name))) is kind


@pytest.mark.parametrize(("kind", "text"), NONE)
def test_a_bad_name_is_refused(kind: type[Name], text: str) -> None:
    """The error says what it should have been."""
    with pytest.raises(BadName, match=r"is not an? "):
        kind.parse(text)


@pytest.mark.parametrize(("kind", "good"), EVERY)
def test_nothing_around_a_name_is_taken(kind: type[Name], good: str) -> None:
    """White space, line ends, NUL and other alphabets' digits are never part of a name."""
    around = [good + "\n", "\n" + good, good + " ", " " + good, good + "\x00", good + "\r\n", ""]
    other_digits = good.translate({ord(digit): chr(0x0660 + int(digit)) for digit in string.digits})
    other_letters = "\uff41" + good[1:]  # full-width a
    for text in {*around, other_digits, other_letters} - {good}:
        with pytest.raises(BadName):
            kind.parse(text)


def test_an_error_shows_little_of_what_came() -> None:
    """The text comes from a stranger: it is cut, and control characters are escaped."""
    with pytest.raises(BadName) as caught:
        Namespace.parse("\x1b[31m" + "x" * 10_000)
    assert len(caught.value.message) < 250
    assert "\x1b" not in caught.value.message


SERVICES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
PARTITIONS = st.sampled_from(GOOD[Partition])
ACCOUNTS = st.from_regex(r"[0-9]{12}", fullmatch=True)
PRINTABLE = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])


@given(
    PARTITIONS,
    SERVICES,
    st.just("") | st.sampled_from(GOOD[Region]),
    st.sampled_from(["", "aws"]) | ACCOUNTS,
    st.text(PRINTABLE, min_size=1, max_size=40),
)
def test_an_arn_goes_round(partition: str, service: str, region: str, account: str, resource: str) -> None:
    """Its parts are those that botocore finds, and written out it is the text that was read."""
    text = f"arn:{partition}:{service}:{region}:{account}:{resource}"
    arn = Arn.parse(text)
    assert str(arn) == text
    assert {
        "partition": arn.partition,
        "service": arn.service,
        "region": arn.region,
        "account": arn.account,
        "resource": arn.resource,
    } == ArnParser().parse_arn(text)


PATHS = st.from_regex(r"(/[!-.0-~]{1,20}){0,4}/", fullmatch=True)
ROLE_NAMES = st.text(string.ascii_letters + string.digits + "_+=,.@-", min_size=1, max_size=64)


@given(PARTITIONS, ACCOUNTS, PATHS, ROLE_NAMES)
def test_a_role_arn_goes_round(partition: str, account: str, path: str, name: str) -> None:
    """Path and name come apart at the last slash (IAM API Reference, Role: Path, RoleName)."""
    text = f"arn:{partition}:iam::{account}:role{path}{name}"
    role = RoleArn.parse(text)
    assert str(role) == text
    assert (role.partition, role.account, role.path, role.name) == (partition, account, path, name)


def test_the_arn_of_a_session() -> None:
    """It has the role's name and not its path (STS API Reference, AssumedRoleUser)."""
    role = RoleArn.parse("arn:aws-cn:iam::123456789012:role/service-role/deep/carts-dynamo")
    assert role.session("eks-demo") == "arn:aws-cn:sts::123456789012:assumed-role/carts-dynamo/eks-demo"


ROLE = "arn:aws:iam::123456789012:role/name"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "arn",
        "arn:aws:iam::123456789012",
        "arn:aws:iam::123456789012:",
        "arn:aws::us-west-2:123456789012:x",
        "ARN:aws:iam::123456789012:role/name",
        "arn:AWS:iam::123456789012:role/name",
        "arn::iam::123456789012:role/name",
        "arn:aws:iam::12345678901:role/name",
        "arn:aws:iam::١٢٣٤٥٦٧٨٩٠١٢:role/name",
        "arn:aws:i am::123456789012:role/name",
        "arn:aws:iam:us west:123456789012:role/name",
        ROLE + "\n",
        ROLE + "\x00",
        "\n" + ROLE,
        " " + ROLE,
        "arn:aws:iam::123456789012:role/" + "x" * 2048,
    ],
)
def test_no_arn(text: str) -> None:
    """Something is missing, or something is there that no ARN has."""
    with pytest.raises(BadName):
        Arn.parse(text)
    with pytest.raises(BadName):
        RoleArn.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "arn:aws:iam:us-west-2:123456789012:role/name",
        "arn:aws:iam:::role/name",
        "arn:aws:iam::aws:role/name",
        "arn:aws:iam::123456789012:user/name",
        "arn:aws:iam::123456789012:root",
        "arn:aws:iam::123456789012:role",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role//name",
        "arn:aws:iam::123456789012:role/a//b/name",
        "arn:aws:iam::123456789012:rolename",
        "arn:aws:iam::123456789012:role/path/",
        "arn:aws:iam::123456789012:role/na me",
        "arn:aws:iam::123456789012:role/näme",
        "arn:aws:iam::123456789012:role/päth/name",
        "arn:aws:iam::123456789012:role/" + "x" * 65,
        f"arn:aws:iam::123456789012:role/{'p' * 511}/name",
        "arn:aws:sts::123456789012:assumed-role/name/session",
        "arn:aws:s3:::role/name",
    ],
)
def test_an_arn_that_is_no_role(text: str) -> None:
    """An ARN of another thing, or of a role that IAM could not have made."""
    with pytest.raises(BadName, match="role"):
        RoleArn.parse(text)


def test_the_longest_path() -> None:
    """512 characters with both slashes (IAM API Reference, CreateRole: Path)."""
    path = f"/{'p' * 510}/"
    assert RoleArn.parse(f"arn:aws:iam::123456789012:role{path}name").path == path

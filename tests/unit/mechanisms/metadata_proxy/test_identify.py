"""Whose address it is: one running pod of this node with a network of its own, or nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolecall.core.caller import AtContainerIp, AtPodIp
from rolecall.core.grant import Refusal
from rolecall.core.names import ClusterName, Namespace, ServiceAccountName
from rolecall.core.records import ContainerFacts, PodFacts
from rolecall.mechanisms.metadata_proxy.identify import address_of, container_at, pod_at

POD = PodFacts(ClusterName("c"), Namespace("n"), "a", "u1", ServiceAccountName("s"), "node-1", "10.0.0.9")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("10.0.0.1:8080", "10.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("fd00:ec2::254", "fd00:ec2::254"),
        ("[fd00:ec2::254]:8181", "fd00:ec2::254"), ("a:", ""), ("myhost:1234", ""), ("", ""), ("abcd", ""),
        ("127.0.0.1:9000", "127.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("FD00:EC2:0::254", "fd00:ec2::254"),
    ],
)  # fmt: skip
def test_address(peer: str, address: str) -> None:
    """kube2iam's parseRemoteAddr and kiam's client IP (legacy-proxies.md §4.8, §5.7); one spelling for one address."""
    assert address_of(peer) == address


@pytest.mark.parametrize(
    ("pods", "got"),
    [
        ([POD], "a"),
        ([replace(POD, running=False), replace(POD, name="b", uid="u2")], "b"),  # Failed + Running → Running
        ([], "no-pod"),
        ([replace(POD, running=False)], "no-pod"),
        ([replace(POD, node="node-2")], "no-pod"),
        ([replace(POD, ip="10.0.0.8")], "no-pod"),
        ([replace(POD, ip=None)], "no-pod"),
        ([replace(POD, host_network=True)], "host-network"),
        ([POD, replace(POD, name="h", host_network=True)], "a"),
        ([POD, replace(POD, name="b", uid="u2")], "shared-address"),
    ],
)
def test_pod(pods: list[PodFacts], got: str) -> None:
    """The cases of kiam's pod cache and kube2iam's active pods (§4.8, §5.7), and requirement R-9."""
    found = pod_at("10.0.0.9", pods, node="node-1")
    assert (found.reason if isinstance(found, Refusal) else found.pod.name) == got


@given(
    st.lists(
        st.builds(
            lambda name, ip, node, host, runs: replace(
                POD, name=name, ip=ip, node=node, host_network=host, running=runs
            ),
            st.text("abc", min_size=1, max_size=2), st.sampled_from(["10.0.0.9", "10.0.0.8", None]),
            st.sampled_from(["node-1", "node-2"]), st.booleans(), st.booleans(),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_a_caller_is_the_only_one_that_it_could_be(pods: list[PodFacts]) -> None:
    """For whatever is known: found is a running pod of this node at this address, and there is no second."""
    found = pod_at("10.0.0.9", pods, node="node-1")
    could = [p for p in pods if p.ip == "10.0.0.9" and p.node == "node-1" and p.running and not p.host_network]
    assert isinstance(found, AtPodIp) is (len(could) == 1)
    assert not isinstance(found, AtPodIp) or found.pod == could[0]


def test_container() -> None:
    """A container has an address in each of its networks; a repr keeps its environment to itself."""
    web = ContainerFacts("c1", "web", frozenset({"10.0.0.9", "172.17.0.2"}), {"PASSWORD": "hush"})
    found = container_at("172.17.0.2", [web])
    assert isinstance(found, AtContainerIp)
    assert "hush" not in repr(found)
    twice = container_at("10.0.0.9", [web, replace(web, id="c2", name="other")])
    assert isinstance(twice, Refusal)
    assert twice.because == ("other", "web")
    assert container_at("10.0.0.1", [web]) == Refusal("no-container", "no running container has the address 10.0.0.1")

"""``initialize --intercept imds`` on a node with pods, in network namespaces: who reaches what, and who nothing.

The judges are connections: from pods, from the node itself and from outside, to what listens here or there.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from integration.dev_plane import ROOT
from integration.network import (
    BRIDGED,
    BRIDGED6,
    HAS_IPV6,
    PLUGINS,
    POD,
    POD6,
    SERVICE,
    SERVICE6,
    Network,
    Place,
    new_network,
)
from rolecall.daemons.agent.canary import send_canaries
from rolecall.daemons.agent.initialize import carry_out, read_initialize_config
from rolecall.daemons.agent.intercept import EVERY, Interception, Interfaces
from rolecall.edges.netlink import open_netlink
from rolecall.edges.telemetry import Log
from rolecall.errors import Misconfigured

ROLECALL = str(ROOT / ".venv" / "bin" / "rolecall")
V4, V6, PORT = "169.254.170.23", "fd00:ec2::23", 8181
DOOR = [(V4, PORT), (V6, PORT)][: 1 + HAS_IPV6]
SERVICES = [SERVICE, SERVICE6][: 1 + HAS_IPV6]
PATTERNS = ("--host-interface", "cali+", "--host-interface", "cni0")
KUBE2IAM = ("--dialect", "kube2iam", *PATTERNS)
REFUSED = "ConnectionRefusedError"
NODES_ROLE = "the node's role for"


@pytest.fixture
def network() -> Iterator[Network]:
    """Make a network in which the pods reach the node's role: nothing is intercepted yet."""
    with new_network() as made:
        assert made.pod.ask(SERVICE) == f"{NODES_ROLE} {POD}"
        yield made


class Heard(Log):
    """Keeps the events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, object]] = []

    def event(self, level: int, name: str, /, **fields: object) -> None:
        self.events.append({"event": name, "warns": level > logging.INFO} | fields)


def initialize(node: Place, *flags: str) -> list[dict[str, object]]:
    """Do what the command does, in the node's thread; return its log."""
    log = Heard()
    node.do(lambda: carry_out(read_initialize_config(["initialize", *flags]), log))
    return log.events


def intercept(node: Place, *flags: str) -> list[dict[str, object]]:
    """Do it with ``--intercept imds``."""
    return initialize(node, "--intercept", "imds", *flags)


def command(node: Place, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the command itself, with ``--intercept imds`` and NET_ADMIN alone."""
    alone = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin")
    return node.run(*alone, ROLECALL, "agent", "initialize", "--intercept", "imds", *flags)


def rules(node: Place, *flags: str) -> str:
    """Return what nft lists."""
    done = node.run("nft", *flags, "list", "ruleset")
    assert done.returncode == 0, done.stderr
    return done.stdout


def canaries(log: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """Return what the log has of canaries: interface, address, outcome."""
    return [(event["interface"], event["to"], event["was"]) for event in log if event["event"] == "intercept.canary"]


def add_rule(node: Place, kind: str, rule: str) -> None:
    """Add a rule in a table of somebody else's."""
    chain = f"another{kind.partition(' ')[0]}"
    script = f"add table ip other\nadd chain ip other {chain} {{ type {kind}; }}\nadd rule ip other {chain} {rule}\n"
    done = subprocess.run(node.command("nft", "-f", "-"), input=script, text=True, check=False)
    assert done.returncode == 0


def test_pods_land_at_the_door_and_nobody_else(network: Network) -> None:
    """From a veth and through a bridge, with the pod's own address; the node itself still reaches its service."""
    node, pod, bridged, outside = (network.places[name] for name in ("node", "pod", "bridged", "outside"))
    initialize(node)
    with network.says("the door for", "node", *DOOR):
        assert outside.ask(V4, PORT) == "the door for 10.99.0.1"  # Linux answers for any of its addresses
        done = command(node, *KUBE2IAM)
        assert done.returncode == 0, done.stderr
        assert [pod.ask(host) for host in SERVICES] == [f"the door for {who}" for who in (POD, POD6)[: len(SERVICES)]]
        from_bridge = [f"the door for {who}" for who in (BRIDGED, BRIDGED6)[: len(SERVICES)]]
        assert [bridged.ask(host) for host in SERVICES] == from_bridge
        assert network.far.ask(SERVICE) == "the door for 10.4.0.2"
        for place in (outside, pod, node):  # only by the interception
            assert [place.ask(*door) for door in DOOR] == [REFUSED] * len(DOOR)
    # Nobody listens at the door any more.
    assert [place.ask(host) for place in (pod, bridged) for host in SERVICES] == [REFUSED] * 2 * len(SERVICES)
    assert [node.ask(host).startswith(NODES_ROLE) for host in SERVICES] == [True] * len(SERVICES)
    warned = [line["event"] for line in map(json.loads, done.stderr.splitlines()) if line["level"] == "warning"]
    assert "intercept.host_network_not_covered" in warned


def test_twice_is_once_and_removed_is_as_before(network: Network) -> None:
    """What other programs have in the packet filter stays byte for byte; the agent's link is another matter."""
    node = network.node
    add_rule(node, "nat hook prerouting priority dstnat", "ip daddr 10.96.0.1 tcp dport 443 counter dnat to 10.99.0.2")
    before = rules(node)
    intercept(node, *KUBE2IAM)
    once = rules(node, "--stateless")
    intercept(node, *KUBE2IAM)
    assert rules(node, "--stateless") == once
    intercept(node)
    assert "dnat to 169" not in rules(node)
    for _ in range(2):
        intercept(node, "--remove")
        assert rules(node) == before
    assert network.pod.ask(SERVICE) == f"{NODES_ROLE} {POD}"
    assert node.run("ip", "link", "show", "pod-id-link0").returncode == 0
    initialize(node, "--remove")
    assert node.run("ip", "link", "show", "pod-id-link0").returncode != 0


@contextmanager
def agent(node: Place, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """Run the agent with a metadata door that gives nobody a role, without any capability, until it is killed."""
    command = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", ROLECALL, "agent", "serve", "--dialect", "deny")
    with subprocess.Popen(node.command(*command, *flags), stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if '"agent.serving"' in line:
                    break
            else:
                pytest.fail("it does not serve")
            yield process
        finally:
            process.kill()


def test_killed_the_agent_leaves_pods_nothing(network: Network) -> None:
    """Before it listens, when it is killed, when its link is gone: no pod reaches the node's role."""
    node, pod = network.node, network.pod
    intercept(node, *KUBE2IAM)
    assert pod.ask(SERVICE) == REFUSED
    with agent(node) as process:
        for host in SERVICES:
            assert "server: EC2ws" in pod.ask(host, head="GET /latest/meta-data/ HTTP/1.1")
            answer = pod.ask(host, head="GET /latest/meta-data/iam/security-credentials/ HTTP/1.1")
            assert answer.startswith("HTTP/1.1 404 ")
        process.kill()
        process.wait()
        assert [pod.ask(host) for host in SERVICES] == [REFUSED] * len(SERVICES)
    initialize(node, "--remove")  # and so the door's address
    assert [pod.ask(host) for host in SERVICES] == [REFUSED] * len(SERVICES)
    # Where the kernel filters inside bridges, it sends the refusal in the name of the door: no answer, but no leak.
    assert network.bridged.ask(SERVICE, patience=0.3) in {REFUSED, "TimeoutError"}


@pytest.mark.parametrize(
    ("plugin", "pattern", "more"), [("ptp", "veth+", {}), ("bridge", "cni1", {"bridge": "cni1", "isGateway": True})]
)
def test_the_plugins_of_cni(
    network: Network, tmp_path: Path, plugin: str, pattern: str, more: dict[str, object]
) -> None:
    """A pod that CNI's own plugin connects, with its masquerading rules: answered, refused, and let go."""
    if not (PLUGINS / plugin).exists() or shutil.which("iptables") is None:
        pytest.skip("needs containernetworking-plugins and iptables")
    node, count = network.node, len(SERVICES)
    with network.plugged(plugin, ("10.5.0.0/24", "fd05::/64"), tmp_path, **more) as pod:
        before = rules(node, "--stateless")
        assert "masquerade" in before
        assert pod.ask(SERVICE) == f"{NODES_ROLE} 10.99.0.2"
        log = intercept(node, "--dialect", "kiam", "--host-interface", pattern, "--canary")
        assert [outcome for _, _, outcome in canaries(log)] == ["landed"] * count
        with network.says("the door for", "node", *DOOR):
            assert [pod.ask(host) for host in SERVICES] == ["the door for 10.5.0.2", "the door for fd05::2"][:count]
        assert [pod.ask(host) for host in SERVICES] == [REFUSED] * count
        intercept(node)
        assert [pod.ask(host) for host in SERVICES] == [REFUSED] * count
        intercept(node, "--remove")
        assert rules(node, "--stateless") == before


def test_deny_needs_nobody(network: Network) -> None:
    """Every pod is refused at once, behind any interface; with patterns, those behind these."""
    node, pods = network.node, [network.pod, network.bridged, network.far]
    intercept(node)
    assert [pod.ask(host) for pod in pods for host in SERVICES] == [REFUSED] * 3 * len(SERVICES)
    assert node.ask(SERVICE).startswith(NODES_ROLE)
    intercept(node, "--dialect", "deny", "--host-interface", "!cni0")
    assert [pod.ask(SERVICE) for pod in pods] == [REFUSED, f"{NODES_ROLE} {BRIDGED}", REFUSED]


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_what_another_proxy_left_leads_nowhere(network: Network, program: str) -> None:
    """The rule that kube2iam leaves behind on a node, and a rule that has pods' connections not tracked."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program} of iptables")
    node, pod = network.node, network.pod
    # legacy-proxies.md §5.1
    kube2iam = f"-A PREROUTING -p tcp -d {SERVICE} --dport 80 -j DNAT --to-destination 10.99.0.2:8282 -i calia"
    done = node.run(program, "-t", "nat", *kube2iam.split())
    assert done.returncode == 0, done.stderr
    with (
        network.says("the old proxy for", "node", ("10.99.0.2", 8282)),
        network.says("the door for", "node", ("0.0.0.0", PORT)),
    ):
        assert pod.ask(SERVICE) == f"the old proxy for {POD}"
        intercept(node)
        assert pod.ask(SERVICE) == REFUSED
        intercept(node, *KUBE2IAM)
        assert pod.ask(SERVICE) == f"the door for {POD}"
        add_rule(node, "filter hook prerouting priority raw", f"ip daddr {SERVICE} notrack")
        assert pod.ask(SERVICE) == REFUSED


def test_a_pattern_that_fits_nothing_opens_nothing(network: Network) -> None:
    """Pods get nothing, which is said; a pattern for the node's way out is refused, since outside is there."""
    log = intercept(network.node, "--dialect", "kiam", "--host-interface", "veth+", "--host-interface", "lxc+")
    assert network.pod.ask(SERVICE) == REFUSED
    log += intercept(network.node, "--dialect", "kiam", "--host-interface", "lxc+")
    warned = [event["interfaces"] for event in log if event["event"] == "intercept.no_such_interface_yet"]
    assert warned == [["lxc+"]]
    before = rules(network.node)
    for pattern in ("eth+", "!ens5"):
        with pytest.raises(Misconfigured, match="pods arrive by eth0, which is the node's own way out"):
            intercept(network.node, "--dialect", "kiam", "--host-interface", pattern)
    assert rules(network.node) == before


def test_a_pod_that_lies_about_its_address_is_not_heard(network: Network) -> None:
    """Its packets are dropped where its interface has no way back to that address: before anything answers them."""
    intercept(network.node, *KUBE2IAM)
    network.pod.ip(f"addr add {BRIDGED}/32 dev lo\naddr add {BRIDGED6}/128 dev lo nodad")
    with network.says("the door for", "node", *DOOR):
        for host, own, anothers in ((SERVICE, POD, BRIDGED), (SERVICE6, POD6, BRIDGED6))[: len(SERVICES)]:
            assert network.pod.ask(host, source=anothers, patience=0.3) == "TimeoutError"
            assert network.pod.ask(host, source=own) == f"the door for {own}"
            (rule,) = [line for line in rules(network.node).splitlines() if "fib" in line and host in line]
            assert "counter packets 0 " not in rule


def test_how_far_a_session_token_goes(network: Network) -> None:
    """One hop is enough for the node's pods, by veth or bridge; two let it through one more router."""
    put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60"
    intercept(network.node, *KUBE2IAM)
    for hops, to_far, patience in (("1", "TimeoutError", 0.5), ("2", "HTTP/1.1 200 OK", 10)):
        with agent(network.node, "--imds-hop-limit", hops):
            for pod in (network.pod, network.bridged):
                assert [pod.ask(host, head=put)[:15] for host in SERVICES] == ["HTTP/1.1 200 OK"] * len(SERVICES)
            for host in SERVICES:
                assert network.far.ask(host, head=put, patience=patience)[:15] == to_far
            assert network.far.ask(SERVICE, head="GET /latest/meta-data/ HTTP/1.1").startswith("HTTP/1.1 200 OK")


def test_what_a_hop_limit_of_two_opens(network: Network) -> None:
    """Without interception: the node's own service with 1 reaches no pod, with 2 every pod, and so is no protection."""
    for hops, answer, patience in ((1, "TimeoutError", 0.5), (2, f"another role for {POD}", 10)):
        with network.says("another role for", "outside", ("10.99.0.1", 80 + hops), hop_limit=hops):
            assert network.node.ask("10.99.0.1", 80 + hops).startswith("another role for")
            assert network.pod.ask("10.99.0.1", 80 + hops, patience=patience) == answer


def links_and_routes(node: Place) -> list[str]:
    """Return what ip shows of them, but for whether there is a carrier, which it learns late."""
    links = [line.split() for line in node.run("ip", "-br", "link").stdout.splitlines()]
    routes = [node.run("ip", family, "route").stdout.replace(" linkdown", "") for family in ("-4", "-6")]
    return [f"{link[0]} {link[2]}" for link in links] + routes


def test_a_canary_tells_where_pods_will_end(network: Network) -> None:
    """By each kind of interface, with the agent there or not; nothing of it stays. With deny it is refused."""
    node = network.node
    initialize(node)
    before = links_and_routes(node)
    flags = (*KUBE2IAM, "--host-interface", "docker0", "--canary")
    for context in (nullcontext(), agent(node)):
        with context:
            log = intercept(node, *flags)
        ends = ("calirolecallcan", "rolecallcanary")
        assert canaries(log) == [(end, host, "landed") for end in ends for host in SERVICES]
        assert [event["interface"] for event in log if event["event"] == "intercept.no_canary"] == ["docker0"]
    assert canaries(intercept(node, "--canary")) == [("rolecallcanary", host, "refused") for host in SERVICES]
    assert links_and_routes(node) == before
    if HAS_IPV6:  # as on a node that has addresses of IPv6 and no way out by it
        node.ip("route del default via fd99::1")
        outcomes = [was for _, _, was in canaries(intercept(node, "--canary"))]
        assert outcomes == ["refused", "silent"]


def test_rules_that_somebody_has_flushed_are_found_missing(network: Network) -> None:
    """By a look that changes nothing, with NET_ADMIN alone; by a canary, where chains are there without rules."""
    node, flags = network.node, (*KUBE2IAM, "--check")
    command(node, *KUBE2IAM)
    before = rules(node)
    assert command(node, *flags).returncode == 0
    assert rules(node) == before
    assert node.run("nft", "delete", "chain", "inet", "rolecall", "intercept").returncode == 0
    assert "lacks intercept: pods may reach" in command(node, *flags).stderr
    assert node.run("nft", "flush", "ruleset").returncode == 0
    done = command(node, *flags)
    assert (done.returncode, "run it again without --check" in done.stderr) == (2, True), done.stderr
    assert rules(node) == ""
    assert network.pod.ask(SERVICE) == f"{NODES_ROLE} {POD}"
    command(node, *KUBE2IAM)
    assert node.run("nft", "flush", "table", "inet", "rolecall").returncode == 0
    with pytest.raises(Misconfigured, match="did not land at the door"):
        intercept(node, *flags, "--canary")


def test_a_canary_that_does_not_land_is_an_error(network: Network) -> None:
    """A firewall of the node's, another program's rules; and without the capability it says which."""
    node, pattern = network.node, ("--dialect", "kiam", "--host-interface", "!eth0", "--canary")
    done = command(node, *pattern)
    assert done.returncode == 2
    assert "cannot make a network namespace" in done.stderr
    assert "SYS_ADMIN" in done.stderr
    add_rule(node, "nat hook prerouting priority -150", f"ip daddr {SERVICE} tcp dport 80 dnat to 10.99.0.2:8282")
    with pytest.raises(Misconfigured, match=f"to {SERVICE} by rolecallcanary did not land at the door: it was refused"):
        intercept(node, *pattern)
    node.run("nft", "delete", "table", "ip", "other")
    add_rule(node, "filter hook input priority 0", f"tcp dport {PORT} drop")
    with pytest.raises(Misconfigured, match="nothing answered: a firewall"):
        intercept(node, *pattern)
    assert network.pod.ask(SERVICE, patience=0.3) == "TimeoutError"


def test_a_canary_knows_the_door_from_what_is_not(network: Network) -> None:
    """Where there are no rules, and the service can answer a canary, each kind of interception is found to be none."""
    network.outside.ip("route add 169.254.170.25 via 10.99.0.2")
    for wanted in (Interception(EVERY), Interception(Interfaces(("cali+",), others=False), (V4,), PORT)):
        with pytest.raises(Misconfigured, match="it reached something that is not the door"):
            network.node.do(lambda wanted=wanted: try_it(wanted))


def try_it(wanted: Interception) -> None:
    """Send the canaries."""
    with open_netlink() as kernel:
        send_canaries(wanted, kernel, Log("test"))

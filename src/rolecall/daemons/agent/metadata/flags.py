"""The metadata door's flags. What they mean is imported only where the door is asked for."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolecall.daemons.environment import port, seconds
from rolecall.edges.http_call import split_url
from rolecall.edges.tls import TlsFiles
from rolecall.errors import BadInput, Misconfigured

if TYPE_CHECKING:
    from rolecall.daemons.agent.metadata.settings import KiamServerSettings, MetadataSettings
    from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam

NAMES = ("off", "deny", "kube2iam", "kiam", "metadataproxy", "host-role")
_PRESETS = ("none", "placement", "identity", "legacy-read", "signed-identity")
SOCKET = "/var/run/docker.sock"
_LINK_LOCAL = ("169.254.170.23", "fd00:ec2::23", "169.254.169.254", "fd00:ec2::254")
_SHORTEST, _LONGEST = 900.0, 43_200.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the door's flags to the agent's."""
    add = parser.add_argument_group("the metadata door (169.254.169.254)").add_argument
    add("--dialect", choices=NAMES, default="off", help="serve it as this proxy did; deny: no credentials (off)")
    add("--imds-port", metavar="PORT", type=port, default=8181, help="port of the metadata door (8181)")
    add("--imds-bind-hosts", metavar="HOST", action="append", help="its address (those of --bind-hosts); repeatable")
    add("--imds-anywhere", action="store_true", help="let its address be one that other machines reach")
    add(
        "--imds-version",
        choices=("optional", "required"),
        default="optional",
        help="whether clients must show a session token: IMDSv2 (optional)",
    )
    add("--imds-hop-limit", metavar="N", type=_hops, default=1, help="hops that a session token's reply travels (1)")
    add("--imds-documents", choices=_PRESETS, help="documents of the node that pods may read (the dialect's own)")
    add("--imds-upstream", metavar="URL", default="", help="where those are (where AWS's SDKs look for them)")
    _add_rules(add)
    _add_docker(add)


def _add_rules(add: Callable[..., Any]) -> None:
    add(
        "--base-role-arn", metavar="ARN", default="", help="what a role's name is completed with: arn:aws:iam::ID:role/"
    )
    add("--auto-discover-base-arn", action="store_true", help="find it by the node's instance profile")
    add("--default-role", metavar="ROLE", default="", help="role of pods without an annotation, or of containers")
    add("--auto-discover-default-role", action="store_true", help="kube2iam: the node's own role is the default")
    add("--iam-role-key", metavar="KEY", default="", help="annotation of the role (iam.amazonaws.com/role)")
    add("--iam-external-id", metavar="KEY", default="", help="annotation of the external id")
    add("--namespace-key", metavar="KEY", default="", help="a namespace's annotation of the roles that it permits")
    add("--namespace-restrictions", action="store_true", help="kube2iam: heed that annotation")
    add("--namespace-restriction-format", choices=("glob", "regexp"), default="glob", help="its form (glob)")
    add("--namespace-rule", choices=("strict", "loose"), default="strict", help="kiam: match all of an ARN, or a part")
    add("--role-session-name", metavar="NAME", default="kiam", help="kiam: session name of pods without an annotation")
    add("--allow-route-regexp", metavar="RE", default="^$", help="kiam: paths of the node's documents that pods read")
    add(
        "--kiam-server",
        metavar="URL",
        default="",
        help="kiam: ask this server (https) who has an address; assume nothing",
    )
    add("--kiam-certificate", metavar="FILE", default="", help="kiam: the agent's certificate, shown to the server")
    add("--kiam-key", metavar="FILE", default="", help="kiam: its key (in the certificate's file)")
    add("--kiam-ca", metavar="FILE", default="", help="kiam: authorities of the server's certificate")
    add("--kiam-token-file", metavar="FILE", default="", help="kiam: the agent's token, which says on which node it is")
    add("--session-duration", metavar="DURATION", default="1h", help="how long a role session is to last (1h)")
    add("--prefetch", metavar="N", type=float, default=0.0, help="roles a second that are fetched for new pods (0)")
    add("--imds-every-node", action="store_true", help="without --node-name, watch the pods of all nodes")
    add("--imds-debug-store", action="store_true", help="kube2iam: answer /debug/store beside /metrics")


def _add_docker(add: Callable[..., Any]) -> None:
    of = "metadataproxy: "
    add("--docker-socket", metavar="PATH", default=SOCKET, help=f"{of}the engine's socket ({SOCKET})")
    add("--default-account-id", metavar="ID", default="", help=f"{of}account of roles that name none")
    add("--account-map", metavar="JSON", default="", help=f"{of}names of accounts, as in role@name")
    add("--role-session-key", metavar="KEY", default="", help=f"{of}what names sessions, Env:NAME or Labels:NAME")
    add("--role-mapping-file", metavar="FILE", default="", help=f"{of}roles by address, instead of Docker")
    add("--mock-instance", metavar="ID", default="", help=f"{of}make an instance up where there is none")


def settings_of(
    flags: argparse.Namespace, hosts: Sequence[str], read: Callable[[Path], str]
) -> MetadataSettings | None:
    """Return what the flags ask for; None for no door.

    `hosts` are the agent's; `read` returns the text of a file. Raises `Misconfigured`.
    """
    if flags.dialect == "off":
        return None
    from rolecall.daemons.agent.metadata.docker_flags import DockerSettings, docker_settings
    from rolecall.daemons.agent.metadata.settings import MetadataSettings
    from rolecall.mechanisms.metadata_proxy.roles import check_base

    duration = seconds(flags.session_duration)
    if not _SHORTEST <= duration <= _LONGEST:
        raise Misconfigured(f"--session-duration {flags.session_duration} is not what STS gives", hint="15m to 12h")
    bases = [bool(flags.base_role_arn), flags.auto_discover_base_arn or flags.auto_discover_default_role]
    if all(bases) or (flags.default_role and flags.auto_discover_default_role):
        raise Misconfigured("a base ARN or a default role is both given and to be found", hint="leave one out")
    base = check_base(flags.base_role_arn) if flags.base_role_arn else ""
    found = MetadataSettings(
        dialect=flags.dialect,
        hosts=tuple(_host(host, anywhere=flags.imds_anywhere) for host in flags.imds_bind_hosts or hosts),
        port=flags.imds_port,
        required=flags.imds_version == "required",
        hops=flags.imds_hop_limit,
        documents=flags.imds_documents or "",
        kube2iam=_kube2iam(flags, base, int(duration)),
        kiam=_kiam(flags, base, int(duration)),
        discover_base=flags.auto_discover_base_arn or flags.auto_discover_default_role,
        discover_default=flags.auto_discover_default_role,
        prefetch=max(0.0, flags.prefetch),
        debug=flags.imds_debug_store,
        kiam_server=_kiam_server(flags),
        every_node=flags.imds_every_node,
        docker=docker_settings(flags, int(duration), read) if flags.dialect == "metadataproxy" else DockerSettings(),
        upstream=_url(flags.imds_upstream),
    )
    try:
        found.manners()
    except BadInput as fault:
        raise Misconfigured(fault.message, hint="correct --allow-route-regexp") from None
    return found


def _kube2iam(flags: argparse.Namespace, base: str, duration: int) -> Kube2iam:
    from rolecall.mechanisms.metadata_proxy.settings import Kube2iam

    usual = Kube2iam()
    return Kube2iam(
        base=base,
        default_role=flags.default_role,
        role_key=flags.iam_role_key or usual.role_key,
        external_id_key=flags.iam_external_id or usual.external_id_key,
        namespace_key=flags.namespace_key or usual.namespace_key,
        restrictions=flags.namespace_restrictions,
        written=flags.namespace_restriction_format,
        duration=duration,
    )


def _kiam(flags: argparse.Namespace, base: str, duration: int) -> Kiam:
    from rolecall.mechanisms.metadata_proxy.settings import Kiam

    usual = Kiam()
    return Kiam(
        base=base,
        session=flags.role_session_name,
        rule=flags.namespace_rule,
        duration=duration,
        role_key=flags.iam_role_key or usual.role_key,
        external_id_key=flags.iam_external_id or usual.external_id_key,
        namespace_key=flags.namespace_key or usual.namespace_key,
        allow_route=flags.allow_route_regexp,
    )


def _kiam_server(flags: argparse.Namespace) -> KiamServerSettings | None:
    url = flags.kiam_server
    if not url:
        return None
    from rolecall.daemons.agent.metadata.settings import KiamServerSettings
    from rolecall.edges.http_call import split_url

    if flags.dialect != "kiam":
        raise Misconfigured("--kiam-server is for --dialect kiam", hint="leave one of them out")
    if split_url(url)[0].scheme != "https":
        raise Misconfigured(f"--kiam-server {url[:80]} is not https", hint="write https://kiam-server:443")
    if not flags.kiam_certificate or not flags.kiam_ca:
        raise Misconfigured(
            "--kiam-server needs --kiam-certificate and --kiam-ca",
            hint="agent and server know each other by certificates of one authority, as kiam's do",
        )
    files = TlsFiles(
        *(Path(name) if name else None for name in (flags.kiam_ca, flags.kiam_certificate, flags.kiam_key))
    )
    return KiamServerSettings(url, files, Path(flags.kiam_token_file) if flags.kiam_token_file else None)


def _host(text: str, *, anywhere: bool) -> str:
    """Return an address to bind; one that other machines reach only where that is wanted."""
    host = {"localhost": "127.0.0.1"}.get(text, text.strip("[]"))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise Misconfigured(f"--imds-bind-hosts {text[:80]!r} is no address", hint="write 169.254.170.23") from None
    if not (anywhere or address.is_loopback or host in _LINK_LOCAL):
        raise Misconfigured(
            f"refusing to bind the metadata door to {host}, which other machines may reach",
            hint="bind it to the node's link-local address, or say --imds-anywhere",
        )
    return host


def _url(text: str) -> str:
    if text:
        split_url(text)
    return text.rstrip("/")


def _hops(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:3]) <= 64:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no hop limit: use 1 to 64")
    return int(text)

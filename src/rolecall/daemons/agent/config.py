"""The agent's settings: the flags of AWS's agent, and a few of our own (aws-pod-identity.md §1.1)."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rolecall.core.names import ClusterName, Region
from rolecall.daemons.agent.flags import IGNORED, parser
from rolecall.daemons.agent.metadata.flags import settings_of
from rolecall.daemons.environment import seconds, verbosity_word
from rolecall.edges.aws.endpoints import configured_endpoint, is_aws, refuse_fips
from rolecall.edges.aws.profiles import read_profile
from rolecall.edges.http_call import split_url
from rolecall.edges.sockets import is_loopback
from rolecall.edges.tls import TlsFiles
from rolecall.errors import BadName, Misconfigured

if TYPE_CHECKING:
    from rolecall.daemons.agent.metadata.settings import MetadataSettings

LINK_LOCAL = ("169.254.170.23", "fd00:ec2::23")
FindRegion = Callable[[Mapping[str, str]], Region]


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything the agent is told. Port 0 of the probe and metrics listeners turns them off.

    `cluster` is fixed, or `clusters_file` maps the token's issuer to one. Durations are in seconds. `region` is None
    only where nothing is signed: the agent proves itself with `token_file` or with a certificate of `upstream_tls`.
    With neither cluster nor clusters file, the metadata door is the only one.
    """

    cluster: ClusterName | None
    clusters_file: Path | None
    node: str | None
    endpoint: str | None
    region: Region | None
    hosts: tuple[str, ...]
    port: int
    probe_port: int
    metrics_host: str
    metrics_port: int
    renewal: float
    cache_size: int
    service_qps: float
    verbosity: str
    log_format: str
    admin_socket: Path | None
    exit_with_stdin: bool
    environment: Mapping[str, str]
    ca_file: Path | None = None
    token_file: Path | None = None
    upstream_tls: TlsFiles = TlsFiles()  # noqa: RUF009 - frozen
    ignored: tuple[str, ...] = ()
    source_check: str = "off"
    kubeconfig: Path | None = None
    warm_file: Path | None = None
    grace: float = 900.0
    metadata: MetadataSettings | None = None

    @property
    def pod_identity(self) -> bool:
        """Whether there is a door for Pod Identity."""
        return self.cluster is not None or self.clusters_file is not None

    def allowed_hosts(self) -> frozenset[str]:
        """Return the Host values that the door answers to: where it is bound."""
        names = set(self.hosts)
        if any(ipaddress.ip_address(host).is_loopback for host in self.hosts):
            names.add("localhost")
        return frozenset(names)


def command_line(argv: Sequence[str] | None) -> tuple[str, list[str]]:
    """Return the command among the arguments, and all of them; the process's own where they are None.

    The command is the first word; --verbosity may stand before it, as with AWS's agent. "" where there is none.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    at = 0
    while at < len(words) and words[at].startswith(("-v", "--verbosity")):
        at += 2 if words[at] in {"-v", "--verbosity"} else 1
    return (words[at] if at < len(words) else ""), words


def read_config(
    argv: Sequence[str] | None,
    environment: Mapping[str, str] | None = None,
    *,
    find_region: FindRegion | None = None,
) -> AgentConfig:
    """Return the settings; raises `Misconfigured` for any that cannot work, before anything is opened.

    Arguments and environment are the process's own where they are None. `find_region` is asked where neither they
    nor the profile have a region.
    """
    env = dict(os.environ if environment is None else environment)
    flags = _checked_cluster(parser().parse_args(argv))
    endpoint, ca_file = _endpoint(flags.endpoint, env), _ca_bundle(env.get("AWS_CA_BUNDLE") or "")
    token_file, tls = _own_proof(flags, endpoint, ca_file)
    hosts = tuple(node_local_host(host) for host in flags.bind_hosts or LINK_LOCAL)
    metadata = settings_of(flags, hosts, read_setting)
    signs = _signs(flags) or (metadata is not None and metadata.assumes)
    region, cluster = _place(flags, env, find_region if signs else None, needed=signs)
    config = AgentConfig(
        cluster=cluster,
        node=flags.node_name or env.get("NODE_NAME") or None,
        endpoint=endpoint,
        region=region,
        hosts=hosts,
        port=flags.port,
        probe_port=flags.probe_port,
        metrics_host=flags.metrics_address,
        metrics_port=flags.metrics_port,
        **_cache(flags),
        verbosity=verbosity_word(flags.verbosity),
        log_format=flags.log_format,
        exit_with_stdin=flags.exit_with_stdin,
        environment=env,
        ca_file=ca_file,
        token_file=token_file,
        upstream_tls=tls,
        source_check=flags.source_check,
        metadata=metadata,
        **_files(flags),
        ignored=tuple(flag for flag in IGNORED if getattr(flags, flag.strip("-").replace("-", "_"))),
    )
    return _checked(config)


def _cache(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the bounds of the cache."""
    qps = flags.max_service_qps if flags.max_service_qps > 0 else 3
    renewal, grace = seconds(flags.max_credential_retention_before_renewal), seconds(flags.grace)
    return {"renewal": renewal, "grace": grace, "cache_size": flags.max_cache_size, "service_qps": qps}


def _signs(flags: argparse.Namespace) -> bool:
    """Say whether EKS Auth is asked, with a signature and not with another proof."""
    proven = flags.upstream_token_file or flags.upstream_certificate
    return bool(flags.cluster_name or flags.clusters_file) and not proven


def _files(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the files that are only named here; None for those that are not."""
    names = ("clusters_file", "admin_socket", "kubeconfig", "warm_file")
    return {name: Path(value) if (value := getattr(flags, name)) else None for name in names}


def _checked_cluster(flags: argparse.Namespace) -> argparse.Namespace:
    if not (flags.cluster_name or flags.clusters_file) and flags.dialect != "off":
        return flags
    if bool(flags.cluster_name) == bool(flags.clusters_file):
        raise Misconfigured(
            'required flag(s) "cluster-name" not set' if not flags.cluster_name else "two ways to choose the cluster",
            hint="give --cluster-name, or --clusters-file, not both",
        )
    return flags


def _place(
    flags: argparse.Namespace, env: Mapping[str, str], find: FindRegion | None, *, needed: bool
) -> tuple[Region | None, ClusterName | None]:
    """Return cluster, and region of the first that has one: flag, environment, profile, `find`."""
    try:
        cluster = ClusterName.parse(flags.cluster_name) if flags.cluster_name else None
        said = flags.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
        said = said or (read_profile(env).setting("region") if needed else "")
        if not said and not needed:
            return None, cluster
        return (Region.parse(said) if said or find is None else find(env)), cluster
    except BadName as fault:
        raise Misconfigured(fault.message, hint="set --region or AWS_REGION, and --cluster-name") from None


def _endpoint(flag: str, env: Mapping[str, str]) -> str | None:
    """Return the EKS Auth that the operator names; None where AWS's own is meant."""
    if flag:
        refuse_fips(env)
    return flag or configured_endpoint(env, "EKS_AUTH")


def _own_proof(flags: argparse.Namespace, endpoint: str | None, ca_file: Path | None) -> tuple[Path | None, TlsFiles]:
    """Return what the agent shows Rolecall's own server in place of a signature: never to AWS, never in the open."""
    token, certificate, key, ca = (
        Path(value) if value else None
        for value in (flags.upstream_token_file, flags.upstream_certificate, flags.upstream_key, flags.upstream_ca)
    )
    if key is not None and certificate is None:
        raise Misconfigured("--upstream-key needs --upstream-certificate", hint="give both, or neither")
    files = TlsFiles(ca or ca_file, certificate, key)
    if token is None and certificate is None:
        return token, files
    flag = "--upstream-token-file" if token is not None else "--upstream-certificate"
    if endpoint is None:
        raise Misconfigured(f"{flag} is for Rolecall's own server, and none is named", hint="add --endpoint")
    origin, _ = split_url(endpoint)
    if is_aws(origin.host):
        raise Misconfigured(f"{flag} is not for AWS, whose endpoint {origin} is", hint=f"leave out {flag}")
    if origin.scheme == "http" and (certificate is not None or not is_loopback(origin.host)):
        raise Misconfigured(f"{flag} needs https, which {origin} is not", hint="write --endpoint https://…")
    return token, files


def _checked(config: AgentConfig) -> AgentConfig:
    """Return settings that can work together; raises `Misconfigured` for others."""
    if config.source_check != "off" and config.node is None:
        raise Misconfigured(
            f"--source-check {config.source_check} needs to know which node this is",
            hint="set --node-name, or NODE_NAME by the downward API (spec.nodeName)",
        )
    if config.warm_file is not None and config.source_check == "off":
        raise Misconfigured(
            "--warm-file needs to know which pods live",
            hint="add --source-check warn or enforce, which watches the pods of this node",
        )
    can_renew = config.service_qps * config.renewal
    if config.renewal and can_renew < config.cache_size / 2:
        raise Misconfigured(
            f"--max-service-qps {config.service_qps:g} renews {can_renew:g} credentials in {config.renewal:g} s, fewer"
            f" than half of --max-cache-size {config.cache_size}",
            hint="raise --max-service-qps, or make the cache smaller",
        )
    return config


def _ca_bundle(path: str) -> Path | None:
    """Return the file of the authorities to believe instead of the machine's; None where those are believed."""
    if not path:
        return None
    try:
        good = b"-----BEGIN CERTIFICATE-----" in Path(path).read_bytes()
    except OSError as fault:
        raise Misconfigured(f"AWS_CA_BUNDLE: {fault.strerror}: {path}", hint="name a readable file") from None
    if not good:
        raise Misconfigured(
            f"AWS_CA_BUNDLE: {path} holds no certificate", hint="it is a file of certificates in PEM form"
        )
    return Path(path)


def node_local_host(text: str) -> str:
    """Return a bind address without brackets; raises `Misconfigured` for one that other machines can reach."""
    host = text.strip("[]")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        good = host in LINK_LOCAL or ipaddress.ip_address(host).is_loopback
    except ValueError:
        good = False
    if not good:
        raise Misconfigured(
            f'refusing to bind credential server to non-node-local host "{text[:80]}"',
            hint=f"only loopback and the link-local hosts {' and '.join(LINK_LOCAL)} are permitted",
        )
    return host


def read_setting(path: Path) -> str:
    """Return the text of a file that the operator named; raises `Misconfigured`."""
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as fault:
        why = getattr(fault, "strerror", None) or "it is not UTF-8"
        raise Misconfigured(
            f"{path} cannot be read: {why}", hint="name a file of text that the agent may read"
        ) from None


def own_environment() -> dict[str, str]:
    """Return the process's own environment."""
    return dict(os.environ)


def read_clusters(path: Path) -> dict[str, ClusterName]:
    """Return issuer → cluster name out of a clusters file; raises `Misconfigured` for one that cannot be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
        return {str(issuer): ClusterName.parse(name) for issuer, name in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError, BadName) as fault:
        raise Misconfigured(f"the clusters file {path} cannot be used: {type(fault).__name__}") from None

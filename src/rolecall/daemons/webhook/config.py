"""The webhook's settings, checked before anything is opened."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rolecall.core.names import AccountId, ClusterName, Namespace, Partition, Region
from rolecall.daemons.environment import seconds, verbosity_word
from rolecall.daemons.webhook.flags import IGNORED, parser
from rolecall.daemons.webhook.rules import Rules
from rolecall.edges.aws.endpoints import is_aws
from rolecall.edges.http_call import split_url
from rolecall.edges.sockets import is_loopback
from rolecall.errors import BadName, Misconfigured

CERTIFICATE, KEY = Path("/etc/webhook/certs/tls.crt"), Path("/etc/webhook/certs/tls.key")
LOOKUP = 3.0
"""Seconds that an unknown service account is asked for, where nothing else is said."""
# Go's names of what TLS 1.2 may use, and OpenSSL's. Go's others are insecure; those of TLS 1.3 cannot be chosen.
SUITES: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
}
_OLD_SUITES = ("TLS_RSA_", "TLS_ECDHE_", "TLS_AES_", "TLS_CHACHA20_")
_VERSIONS = {
    f"{prefix}{number}": f"1.{number[-1]}" for prefix in ("", "VersionTLS") for number in ("10", "11", "12", "13")
}
_VERSIONS |= {f"1.{minor}": f"1.{minor}" for minor in range(4)} | {"": "1.2"}
_KLOG = {"0": "info", "1": "info", "2": "info", "3": "info"}  # a higher number asks for all there is


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Where the certificate comes from: `files`, certificate and key, or else we make it ourselves.

    A certificate of our own is kept in `secret`, holds `names`, and its authority is written into `webhook_config`, for
    `overlap` seconds before it is used.
    """

    files: tuple[Path, Path] | None
    secret: str
    names: tuple[str, ...]
    webhook_config: str
    overlap: float = 300.0
    minimum: str = "1.2"
    ciphers: tuple[str, ...] = ()
    client_ca: Path | None = None
    client_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Rolecall's server, whose associations are read: with a token out of a file, else signed for `region`."""

    endpoint: str
    cluster: ClusterName
    region: Region | None
    token_file: Path | None
    ca_file: Path | None


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """Everything the webhook is told. Port 0 of the metrics listener turns it off; durations are in seconds."""

    host: str
    port: int
    metrics_port: int
    tls: TlsSettings
    rules: Rules
    namespace: Namespace
    service: str
    kubeconfig: Path | None
    kube_api: str | None
    config_map: bool
    identities: Path | None
    server: ServerSettings | None
    lookup: float
    shutdown_delay: float
    most_at_once: int
    debug: bool
    verbosity: str
    log_format: str
    environment: Mapping[str, str]
    notes: tuple[tuple[str, str], ...] = ()
    """Flags that do not do what they say, and why."""


def command_line(argv: Sequence[str] | None) -> list[str]:
    """Return the arguments; the process's own where they are None."""
    return list(sys.argv[1:] if argv is None else argv)


def read_config(argv: Sequence[str] | None, environment: Mapping[str, str] | None = None) -> WebhookConfig:
    """Return the settings; raises `Misconfigured` for any that cannot work.

    Arguments and environment are the process's own where they are None.
    """
    env = dict(os.environ if environment is None else environment)
    flags = parser().parse_args(command_line(argv))
    notes = [(flag, why) for flag, why in IGNORED.items() if getattr(flags, flag[2:].replace("-", "_")) is not None]
    try:
        namespace, rules, server = Namespace.parse(flags.namespace), _rules(flags), _server(flags, env)
    except BadName as fault:
        raise Misconfigured(fault.message, hint="see: rolecall webhook serve --help") from None
    if not 1 <= flags.max_in_flight <= 10_000:
        raise Misconfigured("--max-in-flight is out of range", hint="use 1 to 10000")
    return WebhookConfig(
        host=flags.bind_address,
        port=flags.port,
        metrics_port=flags.metrics_port,
        tls=_tls(flags, notes),
        rules=rules,
        namespace=namespace,
        service=flags.service_name,
        kubeconfig=Path(flags.kubeconfig) if flags.kubeconfig else None,
        kube_api=flags.kube_api or None,
        config_map=flags.watch_config_map,
        identities=_path(flags.watch_container_credentials_config),
        server=server,
        shutdown_delay=min(seconds(flags.shutdown_delay), 60.0),
        lookup=_lookup(flags.service_account_lookup_grace_period),
        most_at_once=flags.max_in_flight,
        debug=flags.enable_debugging_handlers,
        verbosity=_verbosity(flags.verbosity),
        log_format=flags.log_format,
        environment=env,
        notes=tuple(notes),
    )


def _server(flags: argparse.Namespace, env: Mapping[str, str]) -> ServerSettings | None:
    if bool(flags.server) != bool(flags.cluster):
        raise Misconfigured("--server and --cluster belong together", hint="give both, or neither")
    if not flags.server:
        return None
    origin, _ = split_url(flags.server)
    token = _path(flags.server_token_file)
    if token is not None and is_aws(origin.host):
        raise Misconfigured(f"--server-token-file is not for AWS, whose endpoint {origin} is", hint="leave it out")
    if token is not None and origin.scheme == "http" and not is_loopback(origin.host):
        raise Misconfigured(f"--server-token-file needs https, which {origin} is not", hint="write --server https://…")
    said = flags.region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    if token is None and not said:
        raise Misconfigured("questions to --server are signed for a region, and none is set", hint="give --region")
    region = Region.parse(said) if said else None
    return ServerSettings(flags.server, ClusterName.parse(flags.cluster), region, token, _path(flags.server_ca))


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _lookup(text: str) -> float:
    """Return how long is looked for; AWS's 0 means not at all, which would lose pods, so that it means our own."""
    found = min(seconds(text), 5.0) if text else 0.0
    return found or LOOKUP


def _verbosity(text: str) -> str:
    if text.isdecimal():
        return _KLOG.get(text, "debug")
    return verbosity_word(text)


def _rules(flags: argparse.Namespace) -> Rules:
    region = flags.aws_default_region
    return Rules(
        prefix=flags.annotation_prefix,
        region=Region.parse(region) if region else None,
        sts_regional=flags.sts_regional_endpoint,
        expiration=flags.token_expiration,
        audience=flags.token_audience,
        mount_path=_absolute(flags.token_mount_path, "--token-mount-path"),
        bare_roles=_account(flags),
        pod_identity_audience=flags.container_credentials_audience,
        pod_identity_mount_path=_absolute(
            flags.container_credentials_token_mount_path, "--container-credentials-token-mount-path"
        ),
        pod_identity_volume=flags.container_credentials_token_volume_name,
        pod_identity_token_path=flags.container_credentials_token_path,
        full_uri=flags.container_credentials_full_uri,
        loopback_uri=flags.loopback_uri or None,
        expiration_jitter=max(0, min(flags.expiration_jitter, 7_200)),
        session_name=flags.session_name,
        skip_host_network=flags.skip_host_network,
        no_proxy=flags.no_proxy,
        strict=flags.strict,
    )


def _absolute(text: str, flag: str) -> str:
    if not text.startswith("/"):
        raise Misconfigured(f"{flag} {text[:80]!r} is no absolute path", hint="it begins with /")
    return text


def _account(flags: argparse.Namespace) -> tuple[Partition, AccountId] | None:
    if not flags.compose_role_arn:
        return None
    if not flags.account_id:
        raise Misconfigured(
            "--compose-role-arn needs to know the account",
            hint="give --account-id, and --partition where it is not aws",
        )
    return Partition.parse(flags.partition), AccountId.parse(flags.account_id)


def _tls(flags: argparse.Namespace, notes: list[tuple[str, str]]) -> TlsSettings:
    named = bool(flags.tls_cert or flags.tls_key)
    if flags.tls_self_managed and (named or flags.in_cluster is False):
        raise Misconfigured(
            "two ways to get a certificate",
            hint="give --tls-cert and --tls-key, or --tls-self-managed, not both",
        )
    if named and flags.in_cluster:
        notes.append(("--in-cluster", "--tls-cert and --tls-key name the certificate"))
    files = named or flags.in_cluster is False
    if flags.client_name and not flags.client_ca:
        raise Misconfigured("--client-name without --client-ca", hint="name the authority that certifies clients")
    service, namespace = flags.service_name, flags.namespace
    own = (service, f"{service}.{namespace}", f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local")
    return TlsSettings(
        files=(_path(flags.tls_cert) or CERTIFICATE, _path(flags.tls_key) or KEY) if files else None,
        secret=flags.tls_secret,
        names=(*own, *flags.tls_name),
        webhook_config=flags.webhook_config,
        overlap=max(1.0, seconds(flags.tls_overlap)),
        minimum=_version(flags.tls_min_version, notes),
        ciphers=_ciphers(flags.tls_cipher_suites, notes),
        client_ca=_path(flags.client_ca),
        client_names=frozenset(flags.client_name),
    )


def _version(text: str, notes: list[tuple[str, str]]) -> str:
    version = _VERSIONS.get(text)
    if version is None:
        raise Misconfigured(f"--tls-min-version {text[:40]!r} is none", hint="use 1.2 or 1.3")
    if version < "1.2":
        notes.append(("--tls-min-version", "1.2 is the oldest version that is spoken"))
    return max(version, "1.2")


def _ciphers(text: str, notes: list[tuple[str, str]]) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if not name.startswith(_OLD_SUITES)]
    if unknown:
        raise Misconfigured(f"--tls-cipher-suites {unknown[0][:60]!r} is none", hint=f"such as {next(iter(SUITES))}")
    left_out = [name for name in names if name not in SUITES]
    if left_out:
        notes.append(("--tls-cipher-suites", f"left out: {', '.join(left_out)}; TLS 1.3 has suites of its own"))
    return tuple(dict.fromkeys(SUITES[name] for name in names if name in SUITES))

"""The webhook's command line: every flag of AWS's webhook, and ours (aws-pod-identity.md §2.1)."""

from __future__ import annotations

import argparse

from rolecall.daemons.environment import Parser, add_switch, port, switch
from rolecall.edges.telemetry import FORMATS
from rolecall.mechanisms.irsa import inject as irsa
from rolecall.mechanisms.pod_identity import inject as pod_identity

# Flags of AWS's webhook that are taken and change nothing, and why.
IGNORED = {
    "--resync-period": "watches are resumed where they ended, so nothing has to be listed again from time to time",
    "--logtostderr": "the log goes to stderr, always",
    "--alsologtostderr": "the log goes to stderr, always",
    "--stderrthreshold": "the log goes to stderr, always",
    "--log-dir": "the log goes to stderr, always",
    "--log-file": "the log goes to stderr, always",
    "--log-file-max-size": "the log goes to stderr, always",
    "--one-output": "the log goes to stderr, always",
    "--log-backtrace-at": "defects are logged with their place",
    "--vmodule": "--verbosity is for all of the process",
    "--add-dir-header": "each line is an object",
    "--skip-headers": "each line is an object",
    "--skip-log-headers": "each line is an object",
}
_SWITCHES = {
    "--logtostderr", "--alsologtostderr", "--one-output", "--add-dir-header", "--skip-headers", "--skip-log-headers",
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``rolecall webhook serve`` and of ``pod-identity-webhook``."""
    made = Parser(
        prog="rolecall webhook",
        allow_abbrev=False,
        usage="rolecall webhook serve [OPTIONS]",
        description="The admission webhook: gives each new pod what it needs to ask for its role.",
        epilog="example: rolecall webhook serve --namespace rolecall --service-name webhook --tls-self-managed."
        " A pod on paper: rolecall webhook mutate --help. How it is run: docs/how-to/run-the-webhook.md",
    )
    made.add_argument("command", choices=("serve",), help="answer reviews until SIGTERM")
    _add_doors(made)
    _add_tls(made)
    _add_cluster(made)
    _add_sources(made)
    _add_irsa(made)
    _add_pod_identity(made)
    _add_choices(made)
    _add_view(made)
    for flag in IGNORED:
        made.add_argument(*_spellings(flag), **_anything(flag))  # type: ignore[arg-type]
    return made


def _spellings(flag: str) -> tuple[str, ...]:
    """Return klog's names of a flag: it writes them with underscores."""
    name = flag.removeprefix("--")
    return (flag, *([f"--{name.replace('-', '_')}"] if "-" in name else []))


def _anything(flag: str) -> dict[str, object]:
    if flag in _SWITCHES:
        return {"nargs": "?", "const": True, "default": None, "type": switch, "help": argparse.SUPPRESS}
    return {"default": None, "help": argparse.SUPPRESS}


def _add_doors(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("where it listens")).add_argument
    add("--bind-address", metavar="HOST", default="", help="address of both ports (all addresses)")
    add("--port", metavar="PORT", type=port, default=443, help="HTTPS port of /mutate (443)")
    add(
        "--metrics-port", metavar="PORT", type=port, default=9999, help="HTTP port of /metrics, /readyz (9999; 0: none)"
    )
    add("--max-in-flight", metavar="N", type=int, default=400, help="reviews that wait at once; others: 503 (400)")
    add(
        "--shutdown-delay",
        metavar="DURATION",
        default="5s",
        help="after SIGTERM: how long new connections are taken still, for whoever has not heard of it (5s)",
    )
    add_switch(group, "--enable-debugging-handlers", "/debug/alpha/cache on the metrics port (false)")


def _add_tls(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("its certificate")).add_argument
    add("--tls-cert", metavar="FILE", help="certificate, read again when it changes (/etc/webhook/certs/tls.crt)")
    add("--tls-key", metavar="FILE", help="its private key (/etc/webhook/certs/tls.key)")
    add_switch(group, "--tls-self-managed", "make the certificate, keep it in --tls-secret, rotate it, patch caBundle")
    add_switch(group, "--in-cluster", "the same as --tls-self-managed; false: --tls-cert and --tls-key", default=None)
    add("--tls-secret", metavar="NAME", default="pod-identity-webhook", help="Secret of the self-managed certificate")
    add(
        "--tls-overlap",
        metavar="DURATION",
        default="5m",
        help="how long API servers are told of the next authority before it is used (5m)",
    )
    add("--tls-name", metavar="NAME", action="append", default=[], help="one more name or address in it; repeatable")
    add(
        "--webhook-config",
        metavar="NAME",
        default="pod-identity-webhook",
        help="MutatingWebhookConfiguration whose caBundle is kept (pod-identity-webhook)",
    )
    add("--tls-min-version", metavar="V", default="", help="1.2 or 1.3 (1.2)")
    add(
        "--tls-cipher-suites", metavar="NAMES", default="", help="suites of TLS 1.2, by Go's names, with commas between"
    )
    add("--client-ca", metavar="FILE", help="let only clients in with a certificate of this authority")
    add("--client-name", metavar="NAME", action="append", default=[], help="and with this common name; repeatable")


def _add_cluster(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("the cluster").add_argument
    add("--kubeconfig", metavar="FILE", default="", help="how to reach the API server (the pod's own service account)")
    add("--kube-api", metavar="URL", default="", help="the API server's address, in place of the kubeconfig's")
    add("--namespace", metavar="NAME", default="eks", help="namespace of Secret, Service and ConfigMap (eks)")
    add("--service-name", metavar="NAME", default="pod-identity-webhook", help="Service of the webhook")


def _add_sources(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("who has a role")).add_argument
    add_switch(group, "--watch-config-map", "read roles out of the ConfigMap pod-identity-webhook, too (false)")
    add("--watch-container-credentials-config", metavar="FILE", default="", help="file of who has an association")
    add("--server", metavar="URL", default="", help="Rolecall's server, for its associations")
    add("--cluster", metavar="NAME", default="", help="the cluster whose associations they are")
    add("--server-token-file", metavar="FILE", default="", help="show it this service-account token; sign nothing")
    add("--server-ca", metavar="FILE", default="", help="authorities of its certificate (the machine's)")
    add("--region", metavar="REGION", default="", help="region to sign for (AWS_REGION)")
    add(
        "--service-account-lookup-grace-period",
        metavar="DURATION",
        default="",
        help="how long a service account is asked for (3s)",
    )


def _add_irsa(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("IRSA")).add_argument
    add("--annotation-prefix", metavar="DOMAIN", default=irsa.PREFIX, help=f"domain of annotations ({irsa.PREFIX})")
    add("--token-audience", metavar="NAME", default=irsa.AUDIENCE, help=f"audience of tokens ({irsa.AUDIENCE})")
    add("--token-mount-path", metavar="PATH", default=irsa.MOUNT_PATH, help="where the token is mounted")
    add("--token-expiration", metavar="SECONDS", type=int, default=86_400, help="lifetime of tokens (86400)")
    add_switch(group, "--compose-role-arn", "take a bare role name for a role of --account-id (false)")
    add("--account-id", metavar="ID", default="", help="account of bare role names")
    add("--partition", metavar="NAME", default="aws", help="partition of bare role names (aws)")


def _add_pod_identity(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("Pod Identity").add_argument
    token = pod_identity.TOKEN_NAME
    add("--container-credentials-audience", metavar="NAME", default=pod_identity.AUDIENCE, help="audience of tokens")
    add("--container-credentials-token-mount-path", metavar="PATH", default=pod_identity.MOUNT_PATH, help="its mount")
    add("--container-credentials-token-volume-name", metavar="NAME", default=token, help="the token's volume")
    add("--container-credentials-token-path", metavar="NAME", default=token, help="the token's file")
    add("--container-credentials-full-uri", metavar="URL", default=pod_identity.FULL_URI, help="the agent's door")
    add("--loopback-uri", metavar="URL", default="", help="its door on loopback, for SDKs that take no other")
    add(
        "--expiration-jitter",
        metavar="SECONDS",
        type=int,
        default=7_200,
        help="by how much at most a token of exactly a day is shortened (7200)",
    )


def _add_choices(made: argparse.ArgumentParser) -> None:
    add = (group := made.add_argument_group("what else is decided")).add_argument
    add("--aws-default-region", metavar="REGION", default="", help="region that pods are told (none)")
    add_switch(group, "--sts-regional-endpoint", "tell pods to ask STS in their region (false)")
    add_switch(group, "--session-name", "name IRSA's sessions after the pod (false)")
    add_switch(group, "--skip-host-network", "leave pods on the node's network alone (false)")
    add_switch(group, "--no-proxy", "add the agent's address to NO_PROXY where a proxy is set (true)", default=True)
    add_switch(group, "--strict", "patch as AWS's webhook does, byte for byte, with its losses (false)")


def _add_view(made: argparse.ArgumentParser) -> None:
    add = made.add_argument_group("its log").add_argument
    add("--log-format", choices=tuple(FORMATS), default="json", help="form of log lines (json)")
    add("-v", "--v", "--verbosity", metavar="WORD", dest="verbosity", default="info", help="as the agent's, or klog's")

"""The webhook's flags: those of AWS's webhook, by the table in the research of it, and what cannot work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rolecall.daemons.webhook.config import read_config
from rolecall.errors import Misconfigured

# aws-pod-identity.md §2.1: name and default of each flag of amazon-eks-pod-identity-webhook, and klog's.
ORIGINAL = {
    "--port": "443",
    "--metrics-port": "9999",
    "--kubeconfig": "",
    "--kube-api": "",
    "--in-cluster": "true",
    "--tls-cert": "/etc/webhook/certs/tls.crt",
    "--tls-key": "/etc/webhook/certs/tls.key",
    "--tls-cipher-suites": "",
    "--tls-min-version": "",
    "--service-name": "pod-identity-webhook",
    "--namespace": "eks",
    "--tls-secret": "pod-identity-webhook",
    "--annotation-prefix": "eks.amazonaws.com",
    "--token-audience": "sts.amazonaws.com",
    "--token-mount-path": "/var/run/secrets/eks.amazonaws.com/serviceaccount",
    "--token-expiration": "86400",
    "--aws-default-region": "",
    "--sts-regional-endpoint": "false",
    "--watch-config-map": "false",
    "--compose-role-arn": "false",
    "--watch-container-credentials-config": "",
    "--container-credentials-audience": "pods.eks.amazonaws.com",
    "--container-credentials-token-mount-path": "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
    "--container-credentials-token-volume-name": "eks-pod-identity-token",
    "--container-credentials-token-path": "eks-pod-identity-token",
    "--container-credentials-full-uri": "http://169.254.170.23/v1/credentials",
    "--service-account-lookup-grace-period": "100ms",
    "--resync-period": "60s",
    "--enable-debugging-handlers": "false",
    "--add_dir_header": "false",
    "--alsologtostderr": "false",
    "--log_backtrace_at": ":0",
    "--log_dir": "",
    "--log_file": "",
    "--log_file_max_size": "1800",
    "--logtostderr": "true",
    "--one_output": "false",
    "--skip_headers": "false",
    "--skip_log_headers": "false",
    "--stderrthreshold": "2",
    "--v": "4",
    "--vmodule": "",
}
REFERENCE = Path(__file__).resolve().parents[4] / "docs" / "reference" / "webhook-server.md"


@pytest.mark.parametrize("flag", ORIGINAL)
def test_every_flag_of_the_original_is_taken_with_its_default(flag: str) -> None:
    words = ["--in-cluster=false"] if flag.startswith("--tls-") else []
    read_config(["serve", *words, f"{flag}={ORIGINAL[flag]}"], {})
    text = REFERENCE.read_text()
    assert f"`{flag.replace('_', '-')}`" in text


def test_the_reference_says_of_each_what_becomes_of_it() -> None:
    table = REFERENCE.read_text().partition("## Flags")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith(("| `--", "| `-v"))]
    assert len(rows) > 40
    for row in rows:
        assert re.match(r"(same|better|ignored|ours)\b", row.split("|")[3].strip()), row


def test_the_usual_line_of_the_original_works() -> None:
    """As its deployment has it (deploy/deployment-base.yaml)."""
    words = (
        "--in-cluster=false --namespace=eks --service-name=pod-identity-webhook --annotation-prefix=eks.amazonaws.com"
    )
    words += " --token-audience=sts.amazonaws.com --logtostderr"
    config = read_config(["serve", *words.split()], {})
    assert config.tls.files == (Path("/etc/webhook/certs/tls.crt"), Path("/etc/webhook/certs/tls.key"))
    assert config.notes == (("--logtostderr", "the log goes to stderr, always"),)


def test_no_grace_period_is_ours() -> None:
    assert read_config(["serve"], {}).lookup == 3.0
    assert read_config(["serve", "--service-account-lookup-grace-period=0"], {}).lookup == 3.0
    assert read_config(["serve", "--service-account-lookup-grace-period=100ms"], {}).lookup == 0.1


def test_old_tls_is_not_spoken() -> None:
    config = read_config(["serve", "--tls-min-version=VersionTLS10"], {})
    assert config.tls.minimum == "1.2"
    assert [flag for flag, _ in config.notes] == ["--tls-min-version"]
    suites = "TLS_RSA_WITH_RC4_128_SHA,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    config = read_config(["serve", f"--tls-cipher-suites={suites}"], {})
    assert config.tls.ciphers == ("ECDHE-RSA-AES128-GCM-SHA256",)
    assert "RC4" in dict(config.notes)["--tls-cipher-suites"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--token-audience=", "audience"),
        ("--container-credentials-audience=", "audience"),
        ("--token-mount-path=relative", "absolute"),
        ("--namespace=Not_One", "namespace"),
        ("--compose-role-arn", "account"),
        ("--compose-role-arn --account-id=12", "account"),
        ("--aws-default-region=NOWHERE!", "region"),
        ("--tls-self-managed --tls-cert=a", "two ways"),
        ("--tls-self-managed --in-cluster=false", "two ways"),
        ("--client-name=a", "--client-ca"),
        ("--tls-min-version=2", "2"),
        ("--tls-cipher-suites=ROT13", "ROT13"),
        ("--max-in-flight=0", "max-in-flight"),
        ("--port=99999", "port"),
        ("--server=https://rolecall.example", "--cluster"),
        ("--cluster=demo", "--server"),
        ("--server=https://rolecall.example --cluster=demo", "region"),
        ("--server=http://rolecall.example --cluster=demo --server-token-file=f", "https"),
        ("--server=https://eks.eu-west-1.amazonaws.com --cluster=demo --server-token-file=f", "AWS"),
        ("--shutdown-delay=soon", "duration"),
        ("--watch-config-maps", "unrecognized"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_opened(words: str, why: str) -> None:
    with pytest.raises(Misconfigured) as fault:
        read_config(["serve", *words.split()], {})
    assert why in fault.value.message
    assert fault.value.hint

"""Where AWS's services are: endpoints by region, as AWS's endpoint rules have them, or as the environment says."""

from __future__ import annotations

from collections.abc import Mapping

from rolecall.errors import Misconfigured

# Beginning of a region's name → DNS suffix, and DNS suffix of endpoints that speak IPv6 too (AWS's partitions.json).
_SUFFIXES: tuple[tuple[str, str, str], ...] = (
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("", "amazonaws.com", "api.aws"),
)


# Beginning of a region's name → its partition (the same file).
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("eusc-", "aws-eusc"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("eu-isoe-", "aws-iso-e"),
)


def partition_of(region: str) -> str:
    """Return the partition that a region is in: what the ARNs of its accounts begin with."""
    return next((partition for beginning, partition in _PARTITIONS if region.startswith(beginning)), "aws")


def eks_auth_endpoint(region: str, environment: Mapping[str, str]) -> str:
    """Return EKS Auth's own endpoint; it is dual-stack whatever the environment says, and FIPS where it says so."""
    _, dual_stack = _suffixes(region)
    fips = "-fips" if switch(environment, "AWS_USE_FIPS_ENDPOINT") else ""
    return f"https://eks-auth{fips}.{region}.{dual_stack}"


def sts_endpoint(region: str, environment: Mapping[str, str]) -> str:
    """Return the endpoint that the environment has for STS, or STS's own in the region: FIPS and dual-stack as it says.

    Raises `Misconfigured` as `configured_endpoint` does.
    """
    if (configured := configured_endpoint(environment, "STS")) is not None:
        return configured
    plain, dual_stack = _suffixes(region)
    fips = switch(environment, "AWS_USE_FIPS_ENDPOINT")
    if switch(environment, "AWS_USE_DUALSTACK_ENDPOINT"):
        return f"https://sts{'-fips' if fips else ''}.{region}.{dual_stack}"
    if region.startswith("us-gov-"):  # the one that is there is a FIPS endpoint
        fips = False
    return f"https://sts{'-fips' if fips else ''}.{region}.{plain}"


def configured_endpoint(environment: Mapping[str, str], service: str) -> str | None:
    """Return the URL that AWS_ENDPOINT_URL_<service> or AWS_ENDPOINT_URL has for a service such as ``STS``.

    Raises `Misconfigured` where FIPS is asked for as well: whoever is there, nobody knows it to be FIPS.
    """
    if switch(environment, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        return None
    url = environment.get(f"AWS_ENDPOINT_URL_{service}") or environment.get("AWS_ENDPOINT_URL") or None
    if url is not None:
        refuse_fips(environment)
    return url


def is_aws(host: str) -> bool:
    """Say whether a host is one of AWS's, in any partition."""
    ours = host.lower().rstrip(".")
    return any(ours == suffix or ours.endswith(f".{suffix}") for _, *both in _SUFFIXES for suffix in both)


def refuse_fips(environment: Mapping[str, str]) -> None:
    """Refuse FIPS beside an endpoint of somebody's choice, as AWS's endpoint rules do."""
    if switch(environment, "AWS_USE_FIPS_ENDPOINT"):
        raise Misconfigured(
            "AWS_USE_FIPS_ENDPOINT does not go together with an endpoint of your own",
            hint="unset it, or leave out --endpoint and AWS_ENDPOINT_URL",
        )


def switch(environment: Mapping[str, str], name: str) -> bool:
    """Return a variable that is ``true`` or ``false`` in any case, false where it is empty; else refuse it."""
    value = (environment.get(name) or "").strip().lower()
    if value not in {"true", "false", ""}:
        raise Misconfigured(f"{name} is neither true nor false", hint=f"set {name}=true, or unset it")
    return value == "true"


def _suffixes(region: str) -> tuple[str, str]:
    return next((plain, dual) for beginning, plain, dual in _SUFFIXES if region.startswith(beginning))

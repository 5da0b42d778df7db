"""Who we are to the API server: a pod's own account, or a kubeconfig.

Files are read again when they change: a projected token is replaced every hour. Whatever would make us less sure
whom we speak to, or runs programs, is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rolecall.core.secrets import Secret
from rolecall.edges.http_call import Origin, split_url
from rolecall.edges.kube.wire import kubeconfig_of
from rolecall.edges.sockets import is_loopback
from rolecall.edges.tls import ClientTls, TlsFiles
from rolecall.edges.token_file import read_token
from rolecall.errors import Misconfigured

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LONGEST_FILE = 1 << 20
_REFUSED = {
    "exec": "runs a program for its credentials",
    "auth-provider": "needs a plugin for its credentials",
    "username": "has a password, which no API server takes any more",
    "as": "acts as somebody else",
}
_INSTEAD = "use a kubeconfig with a token, a tokenFile or a client certificate"


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """One API server: where it is, how it is known, and who asks. A repr shows no token."""

    origin: Origin
    base: str
    tls: ClientTls | None
    server_name: str
    token_file: Path | None = None
    fixed_token: Secret | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context of a new connection, None for http; raises `Misconfigured`."""
        return None if self.tls is None else self.tls.context()

    def token(self) -> Secret | None:
        """Return the token as it is now; raises `Misconfigured` for a file that holds none."""
        if self.token_file is None:
            return self.fixed_token
        return read_token(self.token_file, LONGEST_FILE)


def in_cluster(environment: Mapping[str, str], account: Path = ACCOUNT) -> KubeConfig | None:
    """Return what a pod has been given; None outside of one, or where it has no account mounted."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        return None
    shown = f"[{host}]" if ":" in host else host
    tls = ClientTls(TlsFiles(ca=account / "ca.crt"))
    return _config(f"https://{shown}:{port}", tls, "", token_file=account / "token")


def api_server(
    kubeconfig: Path | None, environment: Mapping[str, str], *, why: str, url: str | None = None, flag: str = ""
) -> KubeConfig:
    """Return the API server that a kubeconfig names, or else the pod's own; at `url` where `flag` was given that.

    Raises `Misconfigured`; `why` begins its sentence where there is neither.
    """
    found = read_kubeconfig(kubeconfig) if kubeconfig else in_cluster(environment)
    if found is None:
        raise Misconfigured(
            f"{why}, and there is no service account here",
            hint="give --kubeconfig FILE, or mount the pod's service account token",
        )
    if url is None:
        return found
    origin, base = split_url(url)
    if origin.scheme != found.origin.scheme:
        raise Misconfigured(f"{flag} {origin} has another scheme than {found.origin}", hint="use that of it")
    name = found.server_name if found.server_name != found.origin.host else origin.host
    return replace(found, origin=origin, base=base.rstrip("/"), server_name=name)


def read_kubeconfig(path: Path) -> KubeConfig:
    """Return the current context of a kubeconfig; raises `Misconfigured` for one that is not to be used."""
    found, where = kubeconfig_of(_read(path), f"the kubeconfig {path}"), f"the kubeconfig {path}"
    context = _named(found.contexts, found.current_context, f"{where}: the current context").context
    cluster = _named(found.clusters, context.get("cluster"), f"{where}: its cluster").cluster
    name = context.get("user")
    user = (_named(found.users, name, f"{where}: its user").user or {}) if name else {}
    if cluster.get("insecure-skip-tls-verify"):
        raise Misconfigured(f"{where} does not verify its server", hint="give it the cluster's certificate-authority")
    if cluster.get("proxy-url"):
        raise Misconfigured(f"{where} goes through a proxy, which is not offered", hint="reach the server directly")
    for setting, why in _REFUSED.items():
        if user.get(setting):
            raise Misconfigured(f"{where}: its user {why} ({setting})", hint=_INSTEAD)
    files = TlsFiles(
        ca=_file(cluster, "certificate-authority", path),
        certificate=_file(user, "client-certificate", path),
        key=_file(user, "client-key", path),
    )
    server = _text(cluster, "server", where)
    token_file, token = _text(user, "tokenFile", where), _text(user, "token", where)
    return _config(
        server or "none",
        ClientTls(files) if server.startswith("https:") else None,
        _text(cluster, "tls-server-name", where),
        token_file=path.parent / token_file if token_file else None,
        fixed_token=Secret(token) if token else None,
    )


def _config(
    url: str, tls: ClientTls | None, name: str, *, token_file: Path | None = None, fixed_token: Secret | None = None
) -> KubeConfig:
    origin, target = split_url(url)
    if tls is None and not is_loopback(origin.host):
        raise Misconfigured(f"the API server {origin} would be asked without TLS", hint="write its URL as https://")
    return KubeConfig(origin, target.rstrip("/"), tls, name or origin.host, token_file, fixed_token)


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_HasName)


def _named(items: list[Named] | None, name: object, what: str) -> Named:
    for item in items or []:
        if item.name == name:
            return item
    raise Misconfigured(f"{what} is not in it: {str(name)[:100]!r}", hint="kubectl config get-contexts shows them")


def _text(settings: Mapping[str, Any], name: str, where: str) -> str:
    value = settings.get(name) or ""
    if not isinstance(value, str):
        raise Misconfigured(f"{where}: {name} is not a text", hint="see: kubectl config view")
    return value


def _file(settings: Mapping[str, Any], name: str, config: Path) -> Path | None:
    """Return the file of a setting; where the kubeconfig holds the data itself, a file in memory, without a name."""
    data, path = _text(settings, f"{name}-data", str(config)), _text(settings, name, str(config))
    if not data:
        return config.parent / path if path else None
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Misconfigured(f"the kubeconfig {config}: {name}-data is not base64", hint="copy it whole") from None
    file = os.memfd_create(f"kubeconfig-{name}", os.MFD_CLOEXEC)  # it lives as long as the process: OpenSSL reads files
    os.write(file, content)
    return Path(f"/proc/self/fd/{file}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_FILE + 1)
    except OSError as error:
        raise Misconfigured(
            f"the file {path} cannot be read: {error.strerror or 'unknown error'}", hint="let this user read it"
        ) from None
    if len(content) > LONGEST_FILE:
        raise Misconfigured(f"the file {path} is longer than a mebibyte", hint="name another file")
    return content

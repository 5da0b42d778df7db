"""The face of ``/_rolecall/v1``: routes, the admin's right, and which message goes where."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec

from rolecall.core.exchange import Reply, Request
from rolecall.core.names import Namespace, ServiceAccountName
from rolecall.daemons.local_aws.apiserver import accounts, namespaces, pods, tokens, wire
from rolecall.daemons.local_aws.authenticate import JSON_CODES, session_of
from rolecall.daemons.local_aws.eks.clusters import cluster_facts, cluster_row
from rolecall.daemons.local_aws.faces import Reading
from rolecall.daemons.local_aws.imds.pod_doors import PodDoors
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, anything
from rolecall.daemons.local_aws.principals import User
from rolecall.daemons.server.wire import render_error
from rolecall.edges.store.sqlite import Tx
from rolecall.errors import BadName, ServiceError

Act = Callable[[Tx, Call, tuple[str, ...]], msgspec.Struct]
Later = Callable[[Call, Answer], Awaitable[Answer]]
_CLUSTER = "/clusters/([^/]+)"


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: re.Pattern[str]
    name: str
    act: Act


class ApiserverFace:
    """In kube-apiserver's place: service accounts, pods and tokens, for the holder of the admin key only."""

    codes = JSON_CODES
    denied = "AccessDeniedException"

    def __init__(self, issuers: Issuers, node_uid: str, doors: PodDoors) -> None:
        self._issuers = issuers
        self._node_uid = node_uid
        self._doors = doors
        self._later: dict[str, Later] = {
            "CreatePod": self._open_door,
            "HeartbeatPod": self._show_door,
            "DeletePod": self._close_door,
        }
        account = f"{_CLUSTER}/serviceaccounts/([^/]+)/([^/]+)"
        table: tuple[tuple[str, str, str, Act], ...] = (
            ("GET", "/clusters", "ListClusters", _list_clusters),
            ("GET", f"{_CLUSTER}/serviceaccounts", "ListServiceAccounts", _list_accounts),
            ("GET", account, "GetServiceAccount", _get_account),
            ("PUT", account, "AnnotateServiceAccount", _annotate),
            ("GET", f"{_CLUSTER}/namespaces", "ListNamespaces", _list_namespaces),
            ("PUT", f"{_CLUSTER}/namespaces/([^/]+)", "AnnotateNamespace", _annotate_namespace),
            ("POST", f"{_CLUSTER}/pods", "CreatePod", _create_pod),
            ("GET", f"{_CLUSTER}/pods", "ListPods", _list_pods),
            ("POST", f"{_CLUSTER}/pods/([^/]+)/heartbeat", "HeartbeatPod", _heartbeat),
            ("DELETE", f"{_CLUSTER}/pods/([^/]+)", "DeletePod", _end_pod),
            ("POST", f"{_CLUSTER}/tokens", "CreateToken", self._create_token),
            ("GET", "/sessions/([^/]+)", "GetSession", _get_session),
        )
        self._routes = [_Route(method, re.compile(wire.PREFIX + path), name, act) for method, path, name, act in table]

    def read(self, request: Request) -> Reading:
        """Return the operation at the request's method and path."""
        methods = []
        for route in self._routes:
            found = route.path.fullmatch(request.path)
            if found and route.method == request.method:
                return self._reading(route, tuple(unquote(part) for part in found.groups()))
            if found:
                methods.append(route.method)
        if methods:
            raise ServiceError("MethodNotAllowedException", f"this path takes {' or '.join(methods)}", status=405)
        raise ServiceError("UnknownOperationException", "there is nothing at this path", status=404)

    def error(self, fault: ServiceError, request_id: str) -> Reply:
        """Return a JSON error."""
        return render_error(fault, request_id)

    def _reading(self, route: _Route, parts: tuple[str, ...]) -> Reading:
        def act(tx: Tx, call: Call) -> Answer:
            # A policy of a role could allow everything; minting tokens stays the admin's own.
            if not isinstance(call.principal, User) or call.principal.name != "admin":
                raise ServiceError(self.denied, "only the admin key may use this part of the plane", status=403)
            return {"message": route.act(tx, call, parts)}

        def render(answer: Answer, request_id: str) -> Reply:
            headers = (("content-type", "application/json"), ("x-amzn-requestid", request_id))
            return Reply(200, wire.encode(answer["message"]), (*headers, ("cache-control", "no-store")))

        quiet = route.name == "HeartbeatPod"
        later = self._later.get(route.name)
        operation = Operation(f"rolecall:{route.name}", anything, act=act, later=later, for_everyone=True, quiet=quiet)
        return Reading(route.name, operation, dict, render)

    async def _open_door(self, call: Call, answer: Answer) -> Answer:
        """Give a pod that was made its own metadata service, where it is to have one."""
        wanted = wire.decode(call.request.body, wire.NewPod)
        if wanted.proxy is None:
            return answer
        url = await self._doors.open(answer["message"], wanted, wanted.proxy)
        return {"message": msgspec.structs.replace(answer["message"], metadata_url=url)}

    async def _show_door(self, _call: Call, answer: Answer) -> Answer:
        pod = answer["message"]
        return {"message": msgspec.structs.replace(pod, metadata_url=self._doors.url_of(pod.uid))}

    async def _close_door(self, _call: Call, answer: Answer) -> Answer:
        await self._doors.close(answer["message"].uid)
        return answer

    def _create_token(self, tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
        wanted = wire.decode(call.request.body, wire.NewToken)
        cluster_row(tx, parts[0])
        issuer = self._issuers.of_cluster(parts[0])
        if issuer is None:  # between the commit that made the cluster and its answer
            raise ServiceError("ServiceUnavailableException", "the cluster is being made; try again", status=503)
        try:
            namespace = Namespace.parse(wanted.namespace)
            account = ServiceAccountName.parse(wanted.service_account)
        except BadName as fault:
            raise ServiceError("InvalidParameterException", fault.message) from None
        return tokens.mint(
            issuer,
            namespace=namespace,
            service_account=account,
            account_uid=accounts.account_uid(tx, parts[0], namespace, account),
            audience=wanted.audience,
            seconds=wanted.expiration_seconds,
            pod=_bound_pod(tx, parts[0], wanted, call.now),
            node_uid=self._node_uid,
            cap=call.world.max_token_seconds,
            now=call.now,
        )


def _bound_pod(tx: Tx, cluster: str, wanted: wire.NewToken, now: float) -> wire.Pod | None:
    if wanted.pod_uid is None:
        return None
    pod = pods.find(tx, cluster, wanted.pod_uid, now)
    if (pod.namespace, pod.service_account) != (wanted.namespace, wanted.service_account):
        raise ServiceError("InvalidParameterException", "the pod runs under another service account")
    if not pod.running:
        raise ServiceError("InvalidParameterException", "the pod has ended")
    return pod


def _list_clusters(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    rows = tx.execute("SELECT * FROM clusters ORDER BY name").fetchall()
    found = [cluster_facts(call.world, row) for row in rows]
    return wire.ClusterList(tuple(wire.Cluster(str(one.name), one.arn, one.issuer, str(one.region)) for one in found))


def _list_accounts(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    return wire.AccountList(accounts.accounts(tx, call.world, parts[0]))


def _get_account(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    return accounts.account(tx, call.world, *parts)


def _annotate(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    cluster, namespace, name = parts
    change = wire.decode(call.request.body, wire.Annotations)
    return accounts.annotate(tx, call.world, cluster, namespace, name, change)


def _list_namespaces(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    return wire.NamespaceList(namespaces.annotated(tx, parts[0]))


def _annotate_namespace(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    cluster, name = parts
    return namespaces.annotate(tx, cluster, name, wire.decode(call.request.body, wire.Annotations))


def _create_pod(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    return pods.register(tx, parts[0], wire.decode(call.request.body, wire.NewPod), call.now)


def _list_pods(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    cluster_row(tx, parts[0])
    return wire.PodList(pods.running(tx, parts[0], call.now))


def _heartbeat(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    return pods.heartbeat(tx, parts[0], parts[1], call.now)


def _end_pod(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    return pods.end(tx, parts[0], parts[1], call.now)


def _get_session(tx: Tx, call: Call, parts: tuple[str, ...]) -> msgspec.Struct:
    row = tx.execute("SELECT * FROM sessions WHERE access_key_id = ?", parts).fetchone()
    if row is None:
        raise ServiceError("ResourceNotFoundException", f"no session has access key id {parts[0][:32]}", status=404)
    session = session_of(row)
    return wire.Session(
        access_key_id=parts[0],
        arn=session.arn,
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        tags=dict(session.tags),
        transitive_tag_keys=tuple(sorted(session.transitive_keys)),
        source_identity=session.source_identity,
    )

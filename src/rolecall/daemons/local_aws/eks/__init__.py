"""EKS: clusters and add-ons are the plane's; associations are the product's own server's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolecall.daemons.local_aws.eks import addons
from rolecall.daemons.local_aws.eks.clusters import Clusters
from rolecall.daemons.local_aws.operations import Answer, Call, Operation, Operations, Params, Target
from rolecall.daemons.server.associations import Associations
from rolecall.edges.store.sqlite import Tx

Hosted = Callable[[Params], Awaitable[Answer]]


def operations(clusters: Clusters, associations: Associations) -> Operations:
    """Return the table of EKS operations."""
    name = "PodIdentityAssociation"
    return {
        **clusters.operations(),
        **addons.OPERATIONS,
        f"Create{name}": _hosted(f"eks:Create{name}", _cluster, associations.create),
        f"List{name}s": _hosted(f"eks:List{name}s", _cluster, associations.list),
        f"Describe{name}": _hosted(f"eks:Describe{name}", _association, associations.describe),
        f"Update{name}": _hosted(f"eks:Update{name}", _association, associations.update),
        f"Delete{name}": _hosted(f"eks:Delete{name}", _association, associations.delete),
    }


def _hosted(action: str, target: Callable[[Tx, Call], Target], act: Hosted) -> Operation:
    async def later(call: Call, _answer: Answer) -> Answer:
        return await act(call.params)

    return Operation(action, target, later=later)


def _cluster(_tx: Tx, call: Call) -> Target:
    arn = call.world.eks_arn(f"cluster/{call.params['clusterName']}")
    return Target(arn, arn)


def _association(_tx: Tx, call: Call) -> Target:
    identifier = call.params["associationId"].rpartition("/")[2]
    arn = call.world.eks_arn(f"podidentityassociation/{call.params['clusterName']}/{identifier}")
    return Target(arn, arn)

"""From a state directory to a front that answers: the database opened and filled, keys and files written."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rolecall.core.secrets import Secret
from rolecall.daemons.local_aws.build import Readiness, build, world_of
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.daemons.local_aws.front import Front
from rolecall.daemons.local_aws.iam.records import active_key, bootstrap
from rolecall.daemons.local_aws.imds.ec2 import Ec2
from rolecall.daemons.local_aws.imds.face import MetadataService
from rolecall.daemons.local_aws.imds.instance import launch
from rolecall.daemons.local_aws.imds.pod_doors import PodDoors
from rolecall.daemons.local_aws.imds.proxied import Node
from rolecall.daemons.local_aws.imds.wire import documents
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.schema import MIGRATIONS
from rolecall.daemons.local_aws.state_files import Urls, write_clusters, write_state_files
from rolecall.edges import entropy
from rolecall.edges.clock import Clock
from rolecall.edges.state_dir import StateDir
from rolecall.edges.store.sqlite import Database


@dataclass(frozen=True, slots=True)
class Opened:
    """What answers at the plane's port, at its metadata service's, and at those of pods behind a proxy."""

    front: Front
    imds: MetadataService
    doors: PodDoors


async def open_plane(
    config: PlaneConfig, state: StateDir, database: Database, urls: Urls, clock: Clock, readiness: Readiness
) -> Opened:
    """Return what answers at these addresses; raises `Misconfigured` for a state that is not of this account."""
    world = world_of(config, urls.plane)
    await database.open(MIGRATIONS)
    await database.run(lambda tx: bootstrap(tx, world, clock.now()))
    instance = await database.run(lambda tx: launch(tx, world, clock.now()))
    issuers = Issuers(functools.partial(write_clusters, state))
    ec2, key = Ec2(instance, world, database, clock), Secret(entropy.token_hex(32))
    node = Node(ec2, database, key, documents(instance, world))
    doors = PodDoors(node, restrictions=config.namespace_restrictions)
    front = await build(config, world, database, issuers, clock, readiness, doors)
    admin = await database.run(lambda tx: active_key(tx, "admin"))
    agent = await database.run(lambda tx: active_key(tx, "node"))
    write_state_files(state, world, urls=urls, admin=admin, node=agent)
    return Opened(front, MetadataService(ec2, key), doors)

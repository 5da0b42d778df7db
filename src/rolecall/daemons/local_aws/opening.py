"""From a state directory to a front that answers: the database opened and filled, keys and files written."""

from __future__ import annotations

import functools

from rolecall.daemons.local_aws.build import Readiness, build, world_of
from rolecall.daemons.local_aws.config import PlaneConfig
from rolecall.daemons.local_aws.front import Front
from rolecall.daemons.local_aws.iam.records import active_key, bootstrap
from rolecall.daemons.local_aws.issuers import Issuers
from rolecall.daemons.local_aws.schema import MIGRATIONS
from rolecall.daemons.local_aws.state_files import write_clusters, write_state_files
from rolecall.edges.clock import Clock
from rolecall.edges.state_dir import StateDir
from rolecall.edges.store.sqlite import Database


async def open_front(
    config: PlaneConfig, state: StateDir, database: Database, url: str, clock: Clock, readiness: Readiness
) -> Front:
    """Return the front of the plane at `url`; raises `Misconfigured` for a state that is not of this account."""
    world = world_of(config, url)
    await database.open(MIGRATIONS)
    await database.run(lambda tx: bootstrap(tx, world, clock.now()))
    issuers = Issuers(functools.partial(write_clusters, state))
    front = await build(config, world, database, issuers, clock, readiness)
    admin = await database.run(lambda tx: active_key(tx, "admin"))
    node = await database.run(lambda tx: active_key(tx, "node"))
    write_state_files(state, world, admin=admin, node=node)
    return front

"""The metadata door's corridor, in virtual time: who asks is found anew each time, and what they get follows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rolecall.core.exchange import Reply
from rolecall.daemons.agent.metadata.settings import VERSION_KEY, MetadataSettings
from rolecall.errors import UpstreamAnswered
from rolecall.mechanisms.metadata_proxy.settings import Kiam, Kube2iam
from unit.daemons.agent.metadata.world import BASE, KUBE2IAM, ROLES, World, arn

A, B = "10.0.0.1", "10.0.0.2"
TTL = {"x_aws_ec2_metadata_token_ttl_seconds": "60"}


def test_a_pod_gets_its_role_once_asked_for() -> None:
    """List, then credentials; a second question, and fifty at once, cost no second call; the session is kube2iam's."""

    async def work() -> None:
        world = World()
        world.put("a", A, role="reader")
        assert (await world.ask(A, ROLES)).body == b"reader"
        world.sts.delay = 1.0
        asking = [asyncio.ensure_future(world.role_of(A, "reader")) for _ in range(50)]
        await world.clock.advance(1.0)
        assert await asyncio.gather(*asking) == ["reader"] * 50
        assert await world.role_of(A, "reader") == "reader"
        [hop] = world.sts.asked
        assert (hop.role, hop.session.duration, hop.session.external_id) == (arn("reader"), 3600, None)
        assert hop.session.name.endswith("-reader")
        assert world.tally.replies == {200: 52}

    asyncio.run(work())


def test_the_role_is_judged_for_every_request() -> None:
    """Held credentials are nobody's whose annotation says otherwise now, who has gone, or who is another pod."""

    async def work() -> None:
        world = World()
        world.put("a", A, role="reader")
        assert await world.role_of(A, "reader") == "reader"
        world.put("a", A, role="writer")
        assert await world.role_of(A, "reader") == 403
        assert await world.role_of(A, "writer") == "writer"
        world.put("a", A, role="reader")
        assert await world.role_of(A, "reader") == "reader"
        assert len(world.sts.asked) == 3  # an entry dies with what it was granted for
        world.put("a", A, role="reader", deleted=True)
        late = asyncio.ensure_future(world.role_of(A, "reader"))
        await world.clock.advance(0.9)
        assert await late == 404
        world.put("b", A, role="reader")
        assert await world.role_of(A, "reader") == "reader"
        assert len(world.sts.asked) == 4

    asyncio.run(work())


def test_one_role_by_two_external_ids_is_two_questions() -> None:
    """kube2iam shared across external ids (its issue 98): the one that AWS refuses gets nothing of the other's."""

    async def work() -> None:
        world = World()
        key = "iam.amazonaws.com/external-id"
        world.put("a", A, role="shared", annotations={key: "right"})
        world.put("b", B, role="shared", annotations={key: "wrong"})
        assert await world.role_of(A, "shared") == "shared"
        world.sts.failure = UpstreamAnswered(status=403, code="AccessDenied", message="not authorized")
        denied = await world.ask(B, ROLES + "shared")
        assert (denied.status, denied.body) == (500, b"AccessDenied: not authorized\n")
        assert await world.role_of(A, "shared") == "shared"  # nor is one poisoned by the other's failure
        assert [hop.session.external_id for hop in world.sts.asked] == ["right", "wrong"]

    asyncio.run(work())


def test_whoever_is_late_is_waited_for_and_nobody_else_is_woken_for_it() -> None:
    """A pod that asks before its event, an address or its namespace came; 900 ms and no longer (R-4)."""

    async def work() -> None:
        world = World(replace(KUBE2IAM, kube2iam=Kube2iam(base=BASE, restrictions=True)))
        early, never = (asyncio.ensure_future(world.ask(peer, ROLES)) for peer in (A, B))
        await world.clock.advance(0.4)
        world.put("a", role="reader")
        await world.clock.advance(0.2)
        world.put("a", A, role="reader")
        await world.clock.advance(0.2)
        assert not early.done()
        world.namespace("default", **{"iam.amazonaws.com/allowed-roles": '["reader"]'})
        await world.clock.advance(0.0)
        assert (await early).body == b"reader"
        assert not never.done()
        await world.clock.advance(0.1)
        assert (await never).body == b'pod with specificed IP "10.0.0.2" not found\n'
        assert (world.pods.held, world.pods.late) == (2, 1)
        assert (await world.ask(A, ROLES)).status == 200
        world.namespace("default")
        assert (await world.ask(A, ROLES)).status == 404

    asyncio.run(work())


def test_two_at_one_address_are_nobody_until_one_has_gone() -> None:
    """IP reuse: the new pod waits for the end of the old one to be known, and never gets the old one's role (R-9)."""

    async def work() -> None:
        world = World()
        old = world.put("a", A, role="old")
        assert await world.role_of(A, "old") == "old"
        world.put("b", A, role="new")
        for role in ("old", "new"):
            asking = asyncio.ensure_future(world.ask(A, ROLES + role))
            await world.clock.advance(0.9)
            assert (await asking).body == b"2 pods ([pod-a pod-b]) with the ip 10.0.0.1 indexed\n"
        asking = asyncio.ensure_future(world.ask(A, ROLES))
        await world.clock.advance(0.5)
        world.pods.drop(old)
        assert (await asking).body == b"new"
        assert await world.role_of(A, "old") == 403
        assert await world.role_of(A, "new") == "new"

    asyncio.run(work())


def test_nobody_gets_what_came_too_late_for_them() -> None:
    """A pod that goes, or is given another role, while STS is asked: the answer is not handed out, and not kept."""

    async def work() -> None:
        world = World()
        world.sts.delay = 1.0
        gone = world.put("a", A, role="reader")
        world.put("b", B, role="reader")
        asking = [asyncio.ensure_future(world.ask(peer, ROLES + "reader")) for peer in (A, B)]
        await world.clock.advance(0.5)
        world.pods.drop(gone)
        world.put("b", B, role="writer")
        await world.clock.advance(2.0)
        for reply in await asyncio.gather(*asking):
            assert reply.status == 404
            assert b"session-of" not in reply.body
        assert len(world.granted.cache) == 0
        assert world.tally.refusals == {"changed": 2}

    asyncio.run(work())


def test_the_hosts_network_has_no_pod_of_its_own() -> None:
    """Neither at once nor after a wait."""

    async def work() -> None:
        world = World()
        world.put("h", A, role="reader", host=True)
        assert (await world.ask(A, ROLES)).status == 404
        assert world.tally.refusals == {"host-network": 1}

    asyncio.run(work())


def test_a_token_is_good_for_the_pod_that_asked_for_it() -> None:
    """Its reply has the hop limit; the next pod at the address is not let in by it; nobody is given one (R-5)."""

    async def work() -> None:
        world = World(required=True, hops=1)
        world.put("a", A, role="reader")
        given = await world.ask(A, "/latest/api/token", "PUT", **TTL)
        assert (given.status, given.hops) == (200, 1)
        shown = {"x_aws_ec2_metadata_token": given.body.decode()}
        assert (await world.ask(A, ROLES)).status == 401
        assert (await world.ask(A, ROLES, **shown)).body == b"reader"
        world.pods.replace([world.pod("b", A, role="reader"), world.pod("c", B, role="reader")])
        assert [(await world.ask(peer, ROLES, **shown)).status for peer in (A, B)] == [401, 401]
        nobody = asyncio.ensure_future(world.ask("10.0.0.9", "/latest/api/token", "PUT", **TTL))
        await world.clock.advance(0.9)
        assert (await nobody).status == 404

    asyncio.run(work())


def test_a_namespace_may_require_tokens() -> None:
    """By its annotation; other namespaces stay as they are."""

    async def work() -> None:
        world = World()
        world.namespace("default", **{VERSION_KEY: "required"})
        world.put("a", A, role="reader")
        world.put("b", B, role="reader", namespace="other")
        assert [(await world.ask(peer, ROLES)).status for peer in (A, B)] == [401, 200]

    asyncio.run(work())


def test_a_requirement_is_not_slipped_past_at_the_start() -> None:
    """Pods may be known before the namespaces are: nobody is let in by what nobody has said yet."""

    async def work() -> None:
        world = World()
        world.pods.namespaces_coming = lambda: not world.pods.namespaces.by_name
        world.put("a", A, role="reader")
        asking = asyncio.ensure_future(world.ask(A, ROLES))
        await world.clock.advance(0.5)
        assert not asking.done()
        world.namespace("default", **{VERSION_KEY: "required"})
        assert (await asking).status == 401

    asyncio.run(work())


def test_documents_are_asked_for_by_name_and_for_somebody() -> None:
    """One of the list is fetched; others, and nobody's question, go nowhere."""

    async def work() -> None:
        world = World()
        world.put("a", A)
        region = "/latest/meta-data/placement/region"
        assert (await world.ask(A, region)).body == b"eu-central-1"
        assert (await world.ask(A, "/latest/meta-data/ami-id")).status == 404
        assert (await world.ask(A, "/latest/user-data")).status == 404
        nobody = asyncio.ensure_future(world.ask(B, region))
        await world.clock.advance(0.9)
        assert (await nobody).status == 404
        assert world.documents.asked == ["meta-data/placement/region", "meta-data/ami-id"]

    asyncio.run(work())


def test_deny_gives_nobody_a_role_and_everybody_the_region() -> None:
    """It knows no pods, and asks for none."""

    async def work() -> None:
        world = World(MetadataSettings(dialect="deny"))
        for path in (ROLES, ROLES + "reader", "/latest/meta-data/iam/info"):
            assert (await world.ask(A, path)).status == 404
        assert (await world.ask(A, "/latest/meta-data/placement/region")).body == b"eu-central-1"
        given = await world.ask(A, "/latest/api/token", "PUT", **TTL)
        assert given.status == 200
        assert not world.sts.asked

    asyncio.run(work())


def test_who_knows_the_caller_may_fail() -> None:
    """Its error is a reply, and counted."""

    class Broken:
        def known(self, peer: str) -> None:
            return None

        async def facts(self, peer: str) -> Reply:
            raise UpstreamAnswered(status=500, code="engine-silent", message="no answer")

    async def work() -> None:
        world = World()
        world.corridor.whose = Broken()  # type: ignore[assignment]
        assert (await world.ask(A, ROLES)).status == 500
        assert world.tally.refusals == {"engine-silent": 1}

    asyncio.run(work())


def test_every_wait_is_measured_once() -> None:
    """Also where the caller was waited for and STS was asked; what was given at once is not."""

    async def work() -> None:
        world = World()
        asking = asyncio.ensure_future(world.role_of(A, "reader"))
        await world.clock.advance(0.5)
        world.sts.delay = 1.0
        world.put("a", A, role="reader")
        await world.clock.advance(1.0)
        assert await asking == "reader"
        assert await world.role_of(A, "reader") == "reader"
        waited = world.tally.waited
        assert (waited.count, waited.total, world.tally.replies) == (1, 1.5, {200: 2})

    asyncio.run(work())


def test_what_the_api_server_should_not_say_harms_nobody() -> None:
    """An address told twice, in two spellings; names that are none; a pod of another account's shape."""

    async def work() -> None:
        world = World()
        world.put("a", A, f"::ffff:{A}", "fd00::1", "FD00:0::1", role="reader")
        assert (await world.ask(A, ROLES)).body == (await world.ask("fd00::1", ROLES)).body == b"reader"
        world.pods.drop(world.pod("a", A, A))
        world.put("b", B, role="reader", namespace="Not A Name")
        refused = [asyncio.ensure_future(world.ask(peer, ROLES)) for peer in (A, B, "", "nonsense")]
        await world.clock.advance(0.9)
        assert [reply.status for reply in await asyncio.gather(*refused)] == [404] * 4

    asyncio.run(work())


def test_a_namespace_that_is_not_there_permits_nothing() -> None:
    """It ended kiam's server; here it is waited for, and then permits no role. Nor does one that permits another."""

    async def work() -> None:
        world = World(MetadataSettings(dialect="kiam", kiam=Kiam(base=BASE)))
        world.put("a", A, role="xb")
        asking = asyncio.ensure_future(world.ask(A, ROLES + "xb"))
        await world.clock.advance(0.9)
        reply = await asking
        assert (reply.status, reply.body) == (500, b"error fetching credentials: forbidden by policy\n")
        world.namespace("default", **{"iam.amazonaws.com/permitted": ".*/a|b"})
        assert await world.role_of(A, "xb") == 500
        assert not world.sts.asked
        world.namespace("default", **{"iam.amazonaws.com/permitted": ".*/(a|xb)"})
        assert await world.role_of(A, "xb") == "xb"

    asyncio.run(work())

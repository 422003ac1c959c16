"""Joining over real loopback sockets: who meets whom, and what is said when nobody does."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

import pytest
import trio

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.swarm import Capabilities, Swarm, SwarmConfig, hash_object
from quinkgl.testing.swarms import small_manifest
from quinkgl.transport import EndpointConfig
from quinkgl.wire.errors import ErrorCode
from quinkgl_trio.bootstrap import PeerTarget
from quinkgl_trio.driver import open_driver
from quinkgl_trio.network import JoinError, Network
from quinkgl_trio.sockets import bind_udp

_QUICK = SwarmConfig(
    endpoint=EndpointConfig(handshake_timeout_s=0.1, handshake_tries=3), offer_interval_s=0.0, redial_s=0.3
)


class Member:
    """A network, and what it told."""

    def __init__(self):
        self.events = []
        self.updates = []
        self.network = None
        self.swarm = None
        self.address = None

    def names(self):
        return [name for name, _ in self.events]

    async def until(self, condition, limit_s=60.0):
        with trio.fail_after(limit_s):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.01)


@asynccontextmanager
async def member(*peers, manifest=None, join_secret=b"", identity=None):
    manifest = manifest or small_manifest()
    identity = identity or Identity.generate(KeySource.system())
    with bind_udp(("127.0.0.1", 0)) as bound:
        swarm = Swarm(
            manifest=manifest,
            identity=identity,
            capabilities=Capabilities(
                manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
            ),
            addresses=(bound.address,),
            join_secret=join_secret,
            config=_QUICK,
            now=trio.current_time(),
            unix_now=time.time(),
        )
        me = Member()
        me.address, me.swarm = bound.address, swarm

        async def take(update):
            me.updates.append(update)

        async with open_driver(swarm, bound, close_timeout_s=1.0) as driver:
            me.network = Network(
                driver,
                swarm,
                bootstrap=[(target, (target.host, target.port)) for target in peers],
                emit=lambda name, payload: me.events.append((name, payload)),
            )
            me.network.on_update = take
            async with trio.open_nursery() as nursery:
                await nursery.start(me.network.run)
                yield me
                nursery.cancel_scope.cancel()


def at(someone, peer_id=None):
    return PeerTarget(*someone.address, peer_id)


async def test_two_meet_exchange_an_update_and_part():
    async with member() as first:
        async with member(at(first)) as second:
            await second.network.join(1, timeout_s=5)
            await first.network.join(1, timeout_s=5)
            second.network.set_round(1)
            body = bytes(range(256)) * 300
            target = [first.swarm.peer_id]
            second.network.publish(hash_object(body), round=1, sample_count=8, targets=target, metadata={})
            await second.network.delivered(timeout_s=5)
            await first.until(lambda: first.updates)
        await first.until(lambda: "peer_disconnected" in first.names())
    assert bytes(first.updates[0].body) == body
    assert first.updates[0].header.round == 1
    assert second.network.stats.updates_sent == 1
    assert second.names() == ["peer_discovered", "model_send_started", "model_sent"]
    assert first.names() == ["peer_discovered", "peer_disconnected"]


async def test_a_newcomer_that_knows_one_meets_all():
    async with (
        member() as first,
        member(at(first)) as second,
        member(at(first)) as third,
        member(at(third)) as newcomer,
    ):
        await newcomer.network.join(3, timeout_s=10)
        known = {view.peer for view in newcomer.network.peers()}
    assert known == {someone.swarm.peer_id for someone in (first, second, third)}


@pytest.mark.parametrize("difference", ["manifest", "secret", "nobody"])
async def test_silence_ends_in_one_line_with_the_likely_causes(difference):
    async with member() as first:
        other = {
            "manifest": {"manifest": small_manifest("another swarm")},
            "secret": {"join_secret": b"another secret"},
            "nobody": {},
        }[difference]
        target = PeerTarget("127.0.0.1", 9) if difference == "nobody" else at(first)
        async with member(target, **other) as lost:
            with pytest.raises(JoinError, match=r"no answer from 127\.0\.0\.1:\d+ within 0\.4 s") as error:
                await lost.network.join(1, timeout_s=0.4)
        assert first.swarm.stats.bytes_sent == 0  # the answerer stays silent …
        if difference != "nobody":
            assert first.swarm.stats.dropped["E_MAC1"] > 0  # … and counts it
    message = str(error.value)
    assert "\n" not in message
    for cause in ("another manifest or join secret", "nobody listens there", "UDP is blocked"):
        assert cause in message
    assert error.value.code is None


async def test_another_identity_than_the_expected_one_is_refused_at_once():
    stranger = Identity.from_seed(bytes(32)).peer_id
    async with member() as first, member(at(first, stranger)) as second:
        start = trio.current_time()
        with pytest.raises(JoinError, match="did not prove to be the expected peer") as error:
            await second.network.join(1, timeout_s=30)
        assert trio.current_time() - start < 10
        assert not second.network.peers()
    assert error.value.code == ErrorCode.E_HS_IDENTITY
    assert "E_HS_IDENTITY" in str(error.value)
    assert "security.identity_mismatch" in second.names()


async def test_the_right_identity_is_accepted():
    identity = Identity.generate(KeySource.system())
    async with member(identity=identity) as first, member(at(first, identity.peer_id)) as second:
        await second.network.join(1, timeout_s=5)
        assert [view.peer for view in second.network.peers()] == [identity.peer_id]


async def test_too_few_peers_is_said_with_numbers():
    async with member() as first, member(at(first)) as second:
        with pytest.raises(JoinError, match=r"only 1 of 2 peers were met within 0\.6 s"):
            await second.network.join(2, timeout_s=0.6)


async def test_a_peer_that_comes_back_is_met_again():
    async with member() as anchor:
        async with member(at(anchor)) as second:
            await second.network.join(1, timeout_s=5)
            host, port = second.address
        await anchor.until(lambda: not anchor.network.peers())
        async with member(at(anchor)) as third:
            await third.network.join(1, timeout_s=5)
    assert anchor.names().count("peer_discovered") == 2
    assert (host, port) != third.address

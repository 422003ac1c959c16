"""A joiner with a swarm id and an address: it gets the manifest of a live member, and nothing else."""

from __future__ import annotations

import random

import pytest

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.psk import derive_fetch_keys
from quinkgl.manifest import (
    ErrorName,
    ManifestError,
    keygen,
    read_fetched_manifest,
    sign_manifest,
    verify_manifest,
)
from quinkgl.swarm import (
    FetchFailed,
    ManifestFetched,
    ManifestFetcher,
    ManifestNotFetched,
    PeerConnected,
    SwarmConfig,
)
from quinkgl.testing.contract import Checked
from quinkgl.testing.network import Link
from quinkgl.testing.swarms import SwarmNetwork, small_manifest
from quinkgl.transport import ConnectionEstablished, ConnectionLost, Endpoint, MessageReceived
from quinkgl.wire.control import Channel
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.fetch import Get, encode_fetch_message

MANIFEST = small_manifest()
SWARM_ID = bytes.fromhex(MANIFEST.manifest_hash())
JOINER = ("10.9.9.9", 4000)
NOBODY = ("10.8.8.8", 4000)


def fetcher(swarms, *peers, swarm_id=SWARM_ID, address=JOINER, seed=1, **more):
    """Put a fetcher on the network that asks members by index, or addresses."""
    targets = [(swarms.address(peer), None) if isinstance(peer, int) else (peer, None) for peer in peers]
    machine = ManifestFetcher(
        swarm_id=swarm_id,
        peers=targets,
        rng=random.Random(seed),
        insecure_deterministic_keys=True,
        now=swarms.network.now,
        **more,
    )
    return swarms.network.add(address, Checked(machine, deep=False, now=swarms.network.now))


def run(swarms, *nodes, limit_s=120.0):
    assert swarms.network.run(lambda: all(node.machine.drained for node in nodes), limit_s=limit_s)


def events(node, kind):
    return [event for event in node.events if isinstance(event, kind)]


@pytest.mark.req("H-030", "H-037", "H-038")
def test_the_id_and_an_address_are_enough_for_the_manifest():
    swarms = SwarmNetwork()
    swarms.mesh(2)
    joiner = fetcher(swarms, 1)
    run(swarms, joiner)
    (event,) = joiner.events
    member = SwarmNetwork.identity(1).peer_id
    assert event == ManifestFetched(MANIFEST.canonical_bytes(), None, member, swarms.address(1))
    assert read_fetched_manifest(event.manifest, None, expected_swarm_id=SWARM_ID.hex()) == MANIFEST
    assert swarms.members[1].machine.stats.manifests_served == 1
    # The members have heard of nobody new, and may meet the joiner later.
    assert [len(node.machine.peers()) for node in swarms.members] == [1, 1]
    assert len(swarms.members[1].events) == 1


def test_who_fetched_can_join():
    swarms = SwarmNetwork()
    swarms.mesh(1)
    joiner = fetcher(swarms, 0, address=swarms.address(1), identity=swarms.identity(1))
    run(swarms, joiner)
    (event,) = joiner.events
    swarms.add(read_fetched_manifest(event.manifest, None, expected_swarm_id=SWARM_ID.hex()))
    swarms.connect(1, 0)
    assert swarms.network.run(lambda: len(swarms.members[0].machine.peers()) == 1, limit_s=10)
    assert len(events(swarms.members[0], PeerConnected)) == 1


@pytest.mark.req("H-030", "H-039")
def test_a_signature_comes_along_and_verifies():
    pem, _ = keygen()
    manifest = sign_manifest(small_manifest(), pem)
    swarms = SwarmNetwork()
    swarms.add(manifest)
    joiner = fetcher(swarms, 0, swarm_id=bytes.fromhex(manifest.manifest_hash()))
    run(swarms, joiner)
    (event,) = joiner.events
    fetched = read_fetched_manifest(
        event.manifest, event.signature, expected_swarm_id=manifest.manifest_hash()
    )
    assert fetched == manifest
    assert verify_manifest(fetched)
    changed = bytes([event.signature[0] ^ 1]) + event.signature[1:]
    with pytest.raises(ManifestError) as caught:
        read_fetched_manifest(event.manifest, changed, expected_swarm_id=manifest.manifest_hash())
    assert caught.value.code is ErrorName.ERR_SIGNATURE_INVALID


@pytest.mark.req("H-039")
def test_bytes_that_mean_the_same_are_another_manifest():
    spaced = MANIFEST.canonical_bytes().replace(b":", b": ", 1)
    with pytest.raises(ManifestError):
        read_fetched_manifest(spaced, None, expected_swarm_id="ab" * 32)


@pytest.mark.parametrize("seed", range(5))
def test_a_fetch_survives_a_bad_path(seed):
    swarms = SwarmNetwork(seed, Link(loss=0.2, duplicate=0.05, corrupt=0.05, jitter_s=0.02))
    swarms.add()
    joiner = fetcher(swarms, 0, seed=seed)
    run(swarms, joiner)
    assert len(events(joiner, ManifestFetched)) == 1, f"seed {seed}"


def test_addresses_are_tried_in_turn():
    swarms = SwarmNetwork()
    swarms.add(config=SwarmConfig(serve_manifest=False))
    swarms.add()
    joiner = fetcher(swarms, NOBODY, 0, 1)
    run(swarms, joiner)
    failed = events(joiner, FetchFailed)
    assert [(event.address, event.code) for event in failed] == [
        (NOBODY, ErrorCode.E_HS_TIMEOUT),
        (swarms.address(0), ErrorCode.E_HS_TIMEOUT),
    ]
    assert isinstance(joiner.events[-1], ManifestFetched)


@pytest.mark.req("H-040")
def test_a_member_that_serves_nobody_is_silent():
    swarms = SwarmNetwork()
    member = swarms.add(config=SwarmConfig(serve_manifest=False))
    joiner = fetcher(swarms, 0)
    run(swarms, joiner)
    assert isinstance(joiner.events[-1], ManifestNotFetched)
    assert joiner.events[-1].code is ErrorCode.E_HS_TIMEOUT
    assert member.bytes_sent == 0


@pytest.mark.req("H-040", "K-001")
@pytest.mark.parametrize("secret", [b"", b"another secret"])
def test_a_private_swarm_answers_those_who_know_its_secret_alone(secret):
    swarms = SwarmNetwork()
    member = swarms.add(join_secret=b"the secret of this swarm")
    stranger = fetcher(swarms, 0, join_secret=secret)
    run(swarms, stranger)
    assert isinstance(stranger.events[-1], ManifestNotFetched)
    assert member.bytes_sent == 0
    friend = fetcher(swarms, 0, join_secret=b"the secret of this swarm", address=("10.9.9.8", 4000))
    run(swarms, friend)
    assert isinstance(friend.events[-1], ManifestFetched)


@pytest.mark.req("H-036", "W-040")
def test_fetches_are_bounded_in_number_and_rate():
    swarms = SwarmNetwork()
    member = swarms.add()
    count = LIMITS.manifest_fetches + 3
    joiners = [fetcher(swarms, 0, address=("10.9.9.1", 5000 + index), seed=index) for index in range(count)]
    run(swarms, *joiners)
    ends = [joiner.events[-1] for joiner in joiners]
    refused = [end for end in ends if isinstance(end, ManifestNotFetched)]
    assert {end.code for end in refused} == {ErrorCode.E_BUSY}
    assert len(refused) == 3
    assert member.machine.stats.manifests_served == LIMITS.manifest_fetches
    assert member.machine.stats.dropped["fetch_refused"] == 3
    swarms.network.run(limit_s=LIMITS.manifest_fetch_interval_s)
    late = fetcher(swarms, 0, address=("10.9.9.2", 4000), seed=99)
    run(swarms, late)
    assert isinstance(late.events[-1], ManifestFetched)


@pytest.mark.req("H-036")
def test_fetchers_that_stay_keep_their_places():
    swarms = SwarmNetwork()
    member = swarms.add()
    for number in range(LIMITS.manifest_fetches):
        Stranger(swarms, address=("10.9.9.1", 5000 + number), number=number + 1)
    swarms.network.run(limit_s=1.5 * LIMITS.manifest_fetch_interval_s)  # the rate would allow another
    late = fetcher(swarms, 0, seed=99)
    run(swarms, late)
    assert late.events[-1].code is ErrorCode.E_BUSY
    assert member.machine.stats.dropped["fetch_refused"] == 1


@pytest.mark.req("H-036")
def test_fetches_one_after_the_other_have_a_rate_too():
    swarms = SwarmNetwork()
    member = swarms.add()
    ends = []
    for index in range(LIMITS.manifest_fetches + 1):
        joiner = fetcher(swarms, 0, address=("10.9.9.1", 5000 + index), seed=index)
        run(swarms, joiner)
        ends.append(joiner.events[-1])
    assert [isinstance(end, ManifestFetched) for end in ends] == [True] * LIMITS.manifest_fetches + [False]
    assert ends[-1].code is ErrorCode.E_BUSY
    assert member.machine.stats.manifests_served == LIMITS.manifest_fetches


class Stranger:
    """An endpoint with fetch keys, used for something else than fetching."""

    def __init__(self, swarms, member=0, address=JOINER, number=9):
        self.swarms = swarms
        self.peer = SwarmNetwork.identity(member).peer_id
        endpoint = Endpoint(
            identity=Identity.from_seed(bytes([number]) * 32),
            keys=derive_fetch_keys(SWARM_ID),
            rng=random.Random(number),
            insecure_deterministic_keys=True,
            now=swarms.network.now,
        )
        self.node = swarms.network.add(address, endpoint)
        endpoint.connect(swarms.address(member), now=swarms.network.now)
        swarms.network.run(lambda: bool(events(self.node, ConnectionEstablished)), limit_s=10)

    def say(self, channel, message):
        self.node.machine.send_message(self.peer, channel, message, now=self.swarms.network.now)
        self.swarms.network.run(limit_s=1.0)

    @property
    def end(self):
        lost = events(self.node, ConnectionLost)
        return lost[0].code if lost else None


@pytest.mark.req("H-035", "K-007")
@pytest.mark.parametrize("channel", [Channel.MEMBERSHIP, Channel.GOSSIP, Channel.FINGERPRINT])
def test_nothing_but_the_manifest_is_to_be_had(channel):
    swarms = SwarmNetwork()
    swarms.mesh(2)
    stranger = Stranger(swarms)
    stranger.say(channel, b"\xa1\x00\x01")
    assert stranger.end == ErrorCode.E_FRAME_CONTEXT
    assert len(swarms.members[0].events) == 1


@pytest.mark.req("S-029")
def test_a_stranger_is_not_told_the_addresses_of_a_member():
    swarms = SwarmNetwork()
    swarms.mesh(2)
    (established,) = events(Stranger(swarms).node, ConnectionEstablished)
    assert established.record == b""


@pytest.mark.req("H-035")
def test_an_offer_in_fetch_mode_ends_the_session():
    swarms = SwarmNetwork()
    swarms.mesh(1)
    stranger = Stranger(swarms)
    machine = stranger.node.machine
    machine.offer_object(
        stranger.peer, bytes(32), bytes(32), b"header", memoryview(bytes(16000)), now=swarms.network.now
    )
    swarms.network.run(limit_s=1.0)
    assert stranger.end == ErrorCode.E_FRAME_CONTEXT


@pytest.mark.req("H-034")
def test_another_swarm_and_a_breach_end_the_session():
    for message, code in (
        (encode_fetch_message(Get(bytes(32), 0)), ErrorCode.E_MAN_UNKNOWN),
        (encode_fetch_message(Get(SWARM_ID, 8192)), ErrorCode.E_PROTOCOL),
        (b"\x00", ErrorCode.E_SCHEMA),
    ):
        swarms = SwarmNetwork()
        swarms.mesh(1)
        stranger = Stranger(swarms)
        stranger.say(Channel.MANIFEST, message)
        assert stranger.end == code


@pytest.mark.req("H-037")
def test_a_stranger_that_stays_is_sent_away():
    swarms = SwarmNetwork()
    swarms.mesh(2)
    stranger = Stranger(swarms)
    stranger.say(Channel.MANIFEST, encode_fetch_message(Get(SWARM_ID, 0)))
    assert len(events(stranger.node, MessageReceived)) == 1
    assert stranger.end is None
    swarms.network.run(limit_s=LIMITS.manifest_fetch_timeout_s)
    assert stranger.end == ErrorCode.E_MAN_TIMEOUT
    assert [len(node.machine.peers()) for node in swarms.members] == [1, 1]


class FalseSource:
    """An endpoint with fetch keys that answers every request with messages of its own."""

    def __init__(self, swarms, *answers, channel=Channel.MANIFEST, address=NOBODY):
        endpoint = Endpoint(
            identity=Identity.from_seed(b"\x08" * 32),
            keys=derive_fetch_keys(SWARM_ID),
            rng=random.Random(8),
            insecure_deterministic_keys=True,
            now=swarms.network.now,
        )
        self.node = swarms.network.add(address, endpoint)
        self.node.on_event = lambda event: self.answer(event, swarms)
        self.answers = answers
        self.channel = channel

    def answer(self, event, swarms):
        if isinstance(event, MessageReceived):
            for answer in self.answers:
                self.node.machine.send_message(event.peer, self.channel, answer, now=swarms.network.now)


@pytest.mark.req("H-033", "H-035")
@pytest.mark.parametrize(
    ("answer", "channel", "code"),
    [
        (b"\xff", Channel.MANIFEST, ErrorCode.E_CBOR),
        (encode_fetch_message(Get(SWARM_ID, 0)), Channel.MANIFEST, ErrorCode.E_PROTOCOL),
        (b"\xa1\x00\x01", Channel.GOSSIP, ErrorCode.E_FRAME_CONTEXT),
    ],
)
def test_a_false_source_is_left_for_the_next_address(answer, channel, code):
    swarms = SwarmNetwork()
    swarms.mesh(1)
    FalseSource(swarms, answer, channel=channel)
    joiner = fetcher(swarms, NOBODY, 0)
    run(swarms, joiner)
    (failed,) = events(joiner, FetchFailed)
    assert failed.code is code
    assert isinstance(joiner.events[-1], ManifestFetched)


@pytest.mark.req("H-035")
def test_a_source_that_offers_an_object_is_left():
    swarms = SwarmNetwork()
    swarms.mesh(1)
    source = FalseSource(swarms)

    def offer(event):
        if isinstance(event, MessageReceived):
            body = memoryview(bytes(16000))
            source.node.machine.offer_object(
                event.peer, bytes(32), bytes(32), b"header", body, now=swarms.network.now
            )

    source.node.on_event = offer
    joiner = fetcher(swarms, NOBODY, 0)
    run(swarms, joiner)
    (failed,) = events(joiner, FetchFailed)
    assert failed.code is ErrorCode.E_FRAME_CONTEXT
    assert isinstance(joiner.events[-1], ManifestFetched)


def test_events_are_announced_by_the_deadline():
    swarms = SwarmNetwork()
    swarms.mesh(1)
    joiner = fetcher(swarms, 0)
    reasons = []
    joiner.on_event = lambda _event: reasons.append(joiner.machine.deadline())
    assert joiner.machine.deadline_reason in {"datagrams", "handshake"}
    run(swarms, joiner)
    assert len(reasons) == len(joiner.events) == 1


@pytest.mark.req("H-037")
def test_a_source_that_says_nothing_is_given_up():
    swarms = SwarmNetwork()
    FalseSource(swarms)
    joiner = fetcher(swarms, NOBODY)
    run(swarms, joiner)
    assert joiner.events[-1].code is ErrorCode.E_MAN_TIMEOUT


def test_closing_early_ends_without_an_event():
    swarms = SwarmNetwork()
    swarms.mesh(1)
    joiner = fetcher(swarms, 0)
    joiner.machine.close(now=swarms.network.now)
    run(swarms, joiner)
    assert joiner.events == []
    assert joiner.machine.deadline_reason == "nothing"


def test_time_that_goes_backwards_is_held_and_counted():
    joiner = fetcher(SwarmNetwork(), 0)
    joiner.machine.drain(0.0)
    joiner.machine.handle_timer(now=0.0)
    assert joiner.machine.stats.clock_steps_back == 0
    joiner.machine.step_back()


def test_misuse_is_refused():
    for more in ({"swarm_id": bytes(31), "peers": [(NOBODY, None)]}, {"swarm_id": bytes(32), "peers": []}):
        with pytest.raises(LocalProtocolError):
            ManifestFetcher(now=0.0, **more)

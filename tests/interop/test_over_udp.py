"""The library and the second implementation talk to each other over real UDP, on loopback."""

from __future__ import annotations

import hashlib
import os
import random
import time

import pytest
from exchanging import Sum
from loopback import MANIFEST, Loopback, ref_peer, swarm
from ref import manifest as ref_manifest
from ref import merkle, packets, statements

from quinkgl.swarm import (
    ExchangeAborted,
    FingerprintNotReceived,
    FingerprintReceived,
    ManifestFetched,
    ManifestFetcher,
    PeerConnected,
    PeerDisconnected,
    UpdateDelivered,
    UpdateReceived,
)
from quinkgl.transport import KeyLimits, PostQuantum
from quinkgl.transport.config import ConnectionConfig
from quinkgl.wire.errors import ErrorCode

MEGABYTE = hashlib.shake_256(b"a model").digest(1_000_000)
SWARM_ID = bytes.fromhex(MANIFEST.swarm_id)
SIDES = pytest.mark.parametrize("calls", ["ref", "quinkgl"])


def meet(link: Loopback, calls: str) -> None:
    """One side calls, and both agree on the manifest."""
    if calls == "ref":
        link.ours.connect(time.monotonic())
    else:
        link.theirs.connect(link.our_address, expected_peer=link.ours.me.peer, now=time.monotonic())
    link.run(lambda: bool(link.said("agreed") and link.reported(PeerConnected)))


@SIDES
@pytest.mark.parametrize("post_quantum", [0, 1])
def test_handshake_and_manifest_handshake(calls, post_quantum):
    with Loopback(swarm(), ref_peer(post_quantum=post_quantum)) as link:
        link.ours.me.expected = link.theirs.peer_id if calls == "ref" else None
        meet(link, calls)
        assert link.said("session") == [("session", link.theirs.peer_id)]
        (connected,) = link.reported(PeerConnected)
        assert (connected.peer, connected.incoming) == (link.ours.me.peer, calls == "ref")
        assert link.ours.session is not None
        assert link.ours.session.exchanges == post_quantum
        link.ours.close()
        link.run(lambda: bool(link.reported(PeerDisconnected)))
        assert link.reported(PeerDisconnected)[0].code == ErrorCode.NO_ERROR


@SIDES
def test_the_post_quantum_exchange_may_be_required(calls):
    with Loopback(swarm(post_quantum=PostQuantum.REQUIRED), ref_peer(post_quantum=2)) as link:
        meet(link, calls)
        assert link.ours.session is not None
        assert link.ours.session.receiving.mixes == 1


def test_a_cookie_of_the_library_is_answered():
    with Loopback(swarm(init_rate_total_per_s=0), ref_peer()) as link:
        meet(link, "ref")
        assert any(link.ours.opening.init[37:53])


def test_the_library_answers_a_cookie():
    with Loopback(swarm(), ref_peer(under_load=True)) as link:
        meet(link, "quinkgl")
        assert any(link.ours.opening.init[37:53])


def test_the_library_goes_down_to_the_version_that_both_speak():
    with Loopback(swarm(versions=(2, 1)), ref_peer()) as link:
        meet(link, "quinkgl")


def test_a_list_of_versions_without_ours_ends_the_attempt():
    with Loopback(swarm(versions=(2,)), ref_peer()) as link:
        link.ours.connect(time.monotonic())
        link.run(lambda: bool(link.said("failed")))
        assert link.said("failed") == [("failed", "E_VERSION")]


@SIDES
@pytest.mark.parametrize(
    ("term", "value", "code"),
    [
        ("arch_hash", "sha256:" + "cd" * 32, ErrorCode.E_MAN_ARCH),
        ("output_shape", [11], ErrorCode.E_MAN_SHAPE),
        ("topology", "elsewhere", ErrorCode.E_MAN_TERMS),
        ("expires_unix", 1 << 40, ErrorCode.E_MAN_TERMS),
    ],
)
def test_terms_that_differ_are_refused_on_both_sides(calls, term, value, code):
    with Loopback(swarm(), ref_peer(**{term: value})) as link:
        if calls == "ref":
            link.ours.connect(time.monotonic())
        else:
            link.theirs.connect(link.our_address, now=time.monotonic())
        ended_early = "session_ended_early"  # the library was called, and heard the code before it judged
        link.run(
            lambda: bool(link.said("closed") and (link.events or ended_early in link.theirs.stats.dropped))
        )
        assert link.said("closed") == [("closed", code.name)]
        assert {event.code for event in link.events} <= {code}
        assert not link.reported(PeerConnected)


def test_the_second_implementation_fetches_a_manifest():
    with Loopback(swarm(), ref_peer([ref_manifest.fetch_keys(SWARM_ID)])) as link:
        link.ours.connect(time.monotonic())
        link.run(lambda: bool(link.said("manifest")))
        assert link.said("manifest") == [("manifest", MANIFEST.canonical_bytes(), None)]


@pytest.mark.parametrize("signature", [None, bytes(range(64))], ids=["unsigned", "signed"])
def test_the_library_fetches_a_manifest_of_several_pieces(signature):
    served = os.urandom(20_000)
    keys = [ref_manifest.fetch_keys(hashlib.sha256(served).digest())]
    ours = ref_peer(keys, served=(served, signature))
    fetcher = ManifestFetcher(
        swarm_id=hashlib.sha256(served).digest(), peers=[(("127.0.0.1", 9), None)], now=time.monotonic()
    )
    with Loopback(fetcher, ours) as link:
        link.theirs = ManifestFetcher(
            swarm_id=keys[0].swarm_id, peers=[(link.our_address, ours.me.peer)], now=time.monotonic()
        )
        link.run(lambda: bool(link.reported(ManifestFetched)))
        (fetched,) = link.reported(ManifestFetched)
        assert (fetched.manifest, fetched.signature) == (served, signature)


@SIDES
def test_a_megabyte_from_the_second_implementation(calls):
    with Loopback(swarm(), ref_peer()) as link:
        meet(link, calls)
        fields = {
            "swarm_id": SWARM_ID,
            "author": link.ours.me.peer,
            "round": 1,
            "root": merkle.root(MEGABYTE),
            "size": len(MEGABYTE),
            "codec": 1,
            "samples": 64,
            "codec_parameters": {},
            "metadata": {},
            "issued": int(time.time()),
            "nonce": os.urandom(16),
            "incarnation": int(time.time() * 1000),
        }
        header = statements.sign_statement(link.ours.me.seed, "update", fields)
        transfer = link.ours.offer(MEGABYTE, header)
        link.run(lambda: bool(link.reported(UpdateReceived) and link.said("delivered")))
        assert bytes(link.reported(UpdateReceived)[0].body) == MEGABYTE
        assert link.said("delivered") == [("delivered", transfer)]


@SIDES
def test_a_megabyte_from_the_library(calls):
    with Loopback(swarm(), ref_peer()) as link:
        meet(link, calls)
        link.theirs.publish_update(
            MEGABYTE, round=1, sample_count=64, targets=[link.ours.me.peer], now=time.monotonic()
        )
        link.run(lambda: bool(link.said("offer")))
        ((_, transfer, offer),) = link.said("offer")
        judged = statements.judge_header(
            offer["header"], SWARM_ID, link.theirs.peer_id, offer["root"], offer["size"]
        )
        assert (judged["round"], judged["samples"]) == (1, 64)
        link.ours.accept(transfer)
        link.run(lambda: bool(link.reported(UpdateDelivered)))
        assert link.said("object") == [("object", transfer, MEGABYTE)]


def test_small_updates_travel_inside_their_offers():
    with Loopback(swarm(), ref_peer()) as link:
        meet(link, "ref")
        link.theirs.publish_update(
            b"small", round=1, sample_count=1, targets=[link.ours.me.peer], now=time.monotonic()
        )
        link.run(lambda: bool(link.said("offer")))
        link.ours.accept(link.said("offer")[0][1])
        link.run(lambda: bool(link.reported(UpdateDelivered)))
        assert link.said("object")[0][2] == b"small"


@SIDES
def test_fingerprints_both_ways(calls):
    with Loopback(swarm(), ref_peer()) as link:
        meet(link, calls)
        link.ours.fingerprint = (7, b"the shape of our data")
        link.theirs.set_fingerprint(b"the shape of theirs", 3, now=time.monotonic())
        link.ours.ask_fingerprint()
        assert link.theirs.request_fingerprint(link.ours.me.peer, epoch=7, now=time.monotonic())
        link.run(lambda: bool(link.reported(FingerprintReceived) and link.said("fingerprint")))
        assert link.said("fingerprint") == [("fingerprint", 3, b"the shape of theirs")]
        (received,) = link.reported(FingerprintReceived)
        assert (received.epoch, received.body) == (7, b"the shape of our data")
        link.ours.ask_fingerprint(epoch=4)
        assert link.theirs.request_fingerprint(link.ours.me.peer, epoch=8, now=time.monotonic())
        link.run(lambda: bool(link.reported(FingerprintNotReceived) and link.said("fingerprint failed")))
        assert link.said("fingerprint failed") == [("fingerprint failed", "E_FP_EPOCH")]
        assert link.reported(FingerprintNotReceived)[0].code == ErrorCode.E_FP_EPOCH


@SIDES
@pytest.mark.parametrize("offers", ["ref", "quinkgl"])
def test_a_two_sided_exchange(calls, offers):
    with Loopback(swarm(), ref_peer()) as link:
        meet(link, calls)
        both = Sum(link.theirs, link.ours, time.monotonic)
        link.react = both.react
        if offers == "ref":
            link.ours.begin_exchange(both.body(both.ours), 2**31, 0)
        else:
            name = link.theirs.offer_exchange(
                link.ours.me.peer, both.body(both.theirs), weight=2**31, now=time.monotonic()
            )
            assert name is not None
        link.run(both.step)
        assert both.ours == both.theirs == [2 << 40] * 2000
        assert not link.reported(ExchangeAborted)


@SIDES
def test_the_keys_change_and_take_in_new_secrets(calls):
    """Phases of the second implementation's direction, and exchanges of secrets that it begins."""
    with Loopback(swarm(), ref_peer()) as link:
        meet(link, calls)
        session = link.ours.session
        assert session is not None
        for number in range(1, 4):
            session.sending.since = -1e9  # as if the phase had lasted its time
            link.ours.ask_fingerprint()
            link.run(lambda number=number: len(link.said("fingerprint failed")) == number)
            if calls == "ref":
                link.run(lambda: session.exchange == "idle")
                session.offer_secret(packets.X25519)
                link.run(lambda number=number: session.receiving.mixes == 1 + number)
        assert session.sending.phase >= (7 if calls == "ref" else 4)
        assert not session.closed


@SIDES
def test_a_lossy_path(calls):
    """One datagram of ten is lost, in both directions."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed = {seed}")
    draw = random.Random(seed)
    with Loopback(swarm(), ref_peer(), lost=lambda: draw.random() < 0.1) as link:
        meet(link, calls)
        link.theirs.publish_update(
            MEGABYTE[:100_000], round=1, sample_count=1, targets=[link.ours.me.peer], now=time.monotonic()
        )
        link.run(lambda: bool(link.said("offer")))
        link.ours.accept(link.said("offer")[0][1])
        link.run(lambda: bool(link.reported(UpdateDelivered)))
        assert link.said("object")[0][2] == MEGABYTE[:100_000]


@SIDES
def test_the_keys_of_the_library_change(calls):
    """Phases by time, and where the library called, exchanges of secrets that it begins."""
    keys = KeyLimits(phase_s=0.5, ratchet_s=0.2)
    with Loopback(swarm(connection=ConnectionConfig(keys=keys)), ref_peer()) as link:
        meet(link, calls)
        session = link.ours.session
        assert session is not None
        while session.receiving.phase < 4 or (calls == "quinkgl" and session.exchanges < 3):
            answers = len(link.said("fingerprint failed"))
            link.ours.ask_fingerprint()
            link.run(lambda answers=answers: len(link.said("fingerprint failed")) > answers)
        assert not session.closed

"""The handshake: what both sides end with, and which peers do not get there."""

from __future__ import annotations

import contextlib
import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.noise import HandshakeState
from quinkgl.crypto.psk import SwarmKeys, derive_fetch_keys, derive_member_keys
from quinkgl.testing.endpoints import MEMBER, make_identity
from quinkgl.transport.handshake import PATTERN, Initiator, LocalParty, Responder, Session, prologue
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.messages.session import TransportParameters

ALICE_ID, BOB_ID = b"of alice", b"of bobby"
HERE, THERE = ("192.0.2.1", 4001), ("2001:db8::7", 4002)
SOURCE = KeySource.insecure_deterministic(random.Random(7))


def party(seed: int, *, keys: SwarmKeys = MEMBER, identity: Identity | None = None) -> LocalParty:
    return LocalParty(
        identity if identity is not None else make_identity(seed),
        keys,
        SOURCE.x25519(),
        TransportParameters(idle_timeout_s=30.0 + seed),
    )


def initiator(local: LocalParty, *, version: int = 1, versions: tuple[int, ...] = (1,)) -> Initiator:
    return Initiator(local, SOURCE, version, versions)


def responder(
    local: LocalParty, message1: bytes, *, version: int = 1, versions: tuple[int, ...] = (1,)
) -> Responder:
    return Responder(
        local, SOURCE, version, versions, message1, local_id=BOB_ID, record=b"bob's record", observed=HERE
    )


def finish(alice: Initiator, message2: bytes, expected_peer: bytes | None = None) -> tuple[bytes, Session]:
    return alice.finish_untrusted(
        message2, expected_peer=expected_peer, local_id=ALICE_ID, record=b"", observed=THERE
    )


def run(alice_party: LocalParty, bob_party: LocalParty) -> tuple[Session, Session]:
    """Run a whole handshake."""
    alice = initiator(alice_party)
    bob = responder(bob_party, alice.message1)
    message3, session = finish(alice, bob.message2)
    return session, bob.finish_untrusted(message3, remote_id=ALICE_ID)


def refusal(run_step) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        run_step()
    return caught.value.code


def posing_as(victim: Identity, seed: int) -> Identity:
    """An identity that signs with a key of its own and says that it is the victim."""
    poser = make_identity(seed)
    poser.peer_id = victim.peer_id
    return poser


# What both sides end with


@pytest.mark.req("S-001", "S-020")
def test_both_sides_agree_and_know_each_other():
    alice, bob = party(1), party(2)
    at_alice, at_bob = run(alice, bob)
    assert at_alice.handshake_hash == at_bob.handshake_hash
    assert at_alice.peer_id == bob.identity.peer_id
    assert at_bob.peer_id == alice.identity.peer_id
    assert at_alice.remote_static == bob.static_public
    assert at_bob.remote_static == alice.static_public
    assert at_alice.parameters == bob.parameters
    assert at_bob.parameters == alice.parameters
    assert (at_alice.record, at_bob.record) == (b"bob's record", b"")
    assert (at_alice.observed_address, at_bob.observed_address) == (HERE, THERE)


@pytest.mark.req("P-021")
def test_each_direction_has_its_own_key():
    at_alice, at_bob = run(party(1), party(2))
    packet = at_alice.send_keys.seal(0, b"header", b"text")
    assert at_bob.receive_keys.open_untrusted(0, b"header", packet) == b"text"
    assert at_alice.receive_keys.open_untrusted(0, b"header", packet) is None
    answer = at_bob.send_keys.seal(0, b"header", b"text")
    assert at_alice.receive_keys.open_untrusted(0, b"header", answer) == b"text"
    assert answer != packet


@pytest.mark.req("K-012", "S-002")
def test_two_handshakes_of_the_same_parties_have_nothing_in_common():
    alice, bob = party(1), party(2)
    (one, _), (other, _) = run(alice, bob), run(alice, bob)
    assert one.handshake_hash != other.handshake_hash
    assert one.send_keys.seal(0, b"", b"x") != other.send_keys.seal(0, b"", b"x")


@pytest.mark.req("S-006")
def test_the_prologue_is_laid_out_as_the_specification_says():
    keys = derive_member_keys(b"m")
    assert prologue(keys, 1, (1, 0x0A0B0C0D)) == (
        b"QGL1" + bytes([0, 0, 0, 1]) + keys.swarm_id + bytes([1, 2]) + bytes.fromhex("00000001 0a0b0c0d")
    )


def test_an_address_that_means_nothing_to_others_is_left_out():
    alice = initiator(party(1))
    bob = Responder(
        party(2), SOURCE, 1, (1,), alice.message1, local_id=BOB_ID, record=b"", observed=("fe80::1%eth0", 5)
    )
    _, session = finish(alice, bob.message2)
    assert session.observed_address is None


# Who does not get there


@pytest.mark.req("S-001")
def test_another_manifest_is_noise():
    stranger = initiator(party(1, keys=derive_member_keys(b"another manifest")))
    assert refusal(lambda: responder(party(2), stranger.message1)) is ErrorCode.E_HS_DECRYPT


@pytest.mark.req("K-003", "S-001")
def test_knowing_swarm_id_and_mac_key_does_not_replace_the_psk():
    """Removing the psk from the handshake would let this one in."""
    stranger = initiator(party(1, keys=dataclasses.replace(MEMBER, psk=bytes(32))))
    assert refusal(lambda: responder(party(2), stranger.message1)) is ErrorCode.E_HS_DECRYPT


@pytest.mark.req("K-003", "K-011", "S-001", "S-004")
def test_an_answerer_without_the_psk_is_not_believed():
    alice = initiator(party(1))
    impostor = dataclasses.replace(MEMBER, psk=bytes(32))
    genuine = responder(party(2), alice.message1)
    theirs = initiator(party(3, keys=impostor))
    wrong = responder(party(2, keys=impostor), theirs.message1)
    assert refusal(lambda: finish(alice, wrong.message2)) is ErrorCode.E_HS_DECRYPT
    finish(alice, genuine.message2)  # the forged answer has ended nothing


@pytest.mark.req("S-006")
def test_another_mode_is_another_handshake():
    fetch = derive_fetch_keys(MEMBER.swarm_id)
    mixed = dataclasses.replace(MEMBER, mode=fetch.mode)
    stranger = initiator(party(1, keys=mixed))
    assert refusal(lambda: responder(party(2), stranger.message1)) is ErrorCode.E_HS_DECRYPT


@pytest.mark.req("S-006")
def test_version_and_offered_versions_are_bound():
    alice = initiator(party(1), versions=(1, 0x0A0A0A0A))
    bob = party(2)
    for version, versions in ((1, (1,)), (2, (1, 0x0A0A0A0A)), (1, (0x0A0A0A0A, 1))):
        code = refusal(lambda: responder(bob, alice.message1, version=version, versions=versions))  # noqa: B023
        assert code is ErrorCode.E_HS_DECRYPT
    assert responder(bob, alice.message1, versions=(1, 0x0A0A0A0A))


@pytest.mark.req("I-008", "S-021")
def test_an_identity_needs_its_signature_at_the_initiator():
    """Removing the check of the signature would let this one pose as anybody."""
    victim = make_identity(9)
    alice = initiator(party(1))
    bob = responder(party(2, identity=posing_as(victim, 2)), alice.message1)
    code = refusal(lambda: finish(alice, bob.message2, expected_peer=victim.peer_id))
    assert code is ErrorCode.E_HS_IDENTITY


@pytest.mark.req("I-008", "S-021")
def test_an_identity_needs_its_signature_at_the_responder():
    victim = make_identity(9)
    alice = initiator(party(1, identity=posing_as(victim, 1)))
    bob = responder(party(2), alice.message1)
    message3, _ = finish(alice, bob.message2)
    assert refusal(lambda: bob.finish_untrusted(message3, remote_id=ALICE_ID)) is ErrorCode.E_HS_IDENTITY


@pytest.mark.req("S-021")
def test_a_signature_of_another_handshake_is_worth_nothing():
    """A peer that ends in the middle of two handshakes cannot pass the identity of one on to the other."""

    class Replayed(Identity):
        """Signs nothing itself: hands out a signature that the victim made for another handshake."""

        def __init__(self, victim: Identity) -> None:
            self.peer_id = victim.peer_id
            self.signature = victim.sign("handshake", b"\x01" + bytes(64))

        def sign(self, domain: str, message: bytes) -> bytes:
            return self.signature

    alice = initiator(party(1))
    bob = responder(party(2, identity=Replayed(make_identity(9))), alice.message1)
    assert refusal(lambda: finish(alice, bob.message2)) is ErrorCode.E_HS_IDENTITY


@pytest.mark.req("I-004", "S-021")
@pytest.mark.parametrize(
    "peer_id", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32], ids=["order 4", "order 1", "form"]
)
def test_weak_keys_are_refused(peer_id):
    weak = make_identity(2)
    weak.peer_id = peer_id
    alice = initiator(party(1))
    bob = responder(party(2, identity=weak), alice.message1)
    assert refusal(lambda: finish(alice, bob.message2)) is ErrorCode.E_HS_IDENTITY


@pytest.mark.req("S-022")
def test_only_the_expected_peer_will_do():
    alice = initiator(party(1))
    bob_party = party(2)
    bob = responder(bob_party, alice.message1)
    expected = make_identity(3).peer_id
    with pytest.raises(RemoteProtocolError) as caught:
        finish(alice, bob.message2, expected_peer=expected)
    assert caught.value.code is ErrorCode.E_HS_IDENTITY
    assert caught.value.peer == bob_party.identity.peer_id
    again = initiator(party(1))
    answer = responder(bob_party, again.message1).message2
    _, session = finish(again, answer, expected_peer=bob_party.identity.peer_id)
    assert session.peer_id == bob_party.identity.peer_id


@pytest.mark.req("S-021")
def test_a_payload_that_does_not_fit_has_its_own_code():
    local = party(1)
    alice = initiator(local)
    broken = dataclasses.replace(party(2), parameters=TransportParameters())
    bob = Responder(
        broken,
        SOURCE,
        1,
        (1,),
        alice.message1,
        local_id=BOB_ID,
        record=bytes(LIMITS.record_bytes + 1),
        observed=HERE,
    )
    assert refusal(lambda: finish(alice, bob.message2)) is ErrorCode.E_SCHEMA


@pytest.mark.req("S-027")
def test_each_side_learns_the_other_s_connection_id_from_the_payload():
    alice = initiator(party(1))
    bob = responder(party(2), alice.message1)
    message3, session = finish(alice, bob.message2)
    assert session.remote_id == BOB_ID
    assert bob.finish_untrusted(message3, remote_id=ALICE_ID).remote_id == ALICE_ID


@pytest.mark.req("S-027")
def test_message_3_must_name_the_connection_id_of_the_init():
    alice = initiator(party(1))
    bob = responder(party(2), alice.message1)
    message3, _ = finish(alice, bob.message2)
    assert refusal(lambda: bob.finish_untrusted(message3, remote_id=b"another.")) is ErrorCode.E_HS_PARAMS


def noise_of(local: LocalParty, ephemeral) -> HandshakeState:
    return HandshakeState(
        PATTERN,
        initiator=True,
        prologue=prologue(local.keys, 1, (1,)),
        static=local.static,
        psks=(local.keys.psk, local.keys.psk),
        ephemeral=ephemeral,
    )


@pytest.mark.req("S-005")
def test_message_1_has_no_payload():
    local = party(1)
    state = noise_of(local, SOURCE.x25519())
    message1 = state.write_tokens() + state.write_payload(b"x")
    assert refusal(lambda: responder(party(2), message1)) is ErrorCode.E_PROTOCOL


@pytest.mark.req("K-010", "S-003")
def test_an_ephemeral_key_of_small_order_is_refused():
    class ZeroKey:
        """Stands where an X25519 private key would, with a public key for which every result is zero."""

        def public_key(self):
            return self

        def public_bytes_raw(self):
            return bytes(32)

    state = noise_of(party(1), ZeroKey())
    message1 = state.write_tokens() + state.write_payload(b"")
    assert refusal(lambda: responder(party(2), message1)) is ErrorCode.E_HS_DECRYPT


# Bytes that nobody wrote


@pytest.mark.req("K-011", "S-004")
def test_a_forged_message_leaves_the_handshake_as_it_was():
    alice = initiator(party(1))
    bob = responder(party(2), alice.message1)
    for position in (0, 40, -1):
        forged = bytearray(bob.message2)
        forged[position] ^= 1
        assert refusal(lambda: finish(alice, bytes(forged))) is ErrorCode.E_HS_DECRYPT  # noqa: B023
    message3, session = finish(alice, bob.message2)
    for position in (0, 40, -1):
        forged = bytearray(message3)
        forged[position] ^= 1
        with pytest.raises(RemoteProtocolError) as caught:
            bob.finish_untrusted(bytes(forged), remote_id=ALICE_ID)
        assert caught.value.code is ErrorCode.E_HS_DECRYPT
    assert bob.finish_untrusted(message3, remote_id=ALICE_ID).handshake_hash == session.handshake_hash


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_remote_protocol_error(data):
    alice = initiator(party(1))
    bob = responder(party(2), alice.message1)
    for step in (
        lambda: responder(party(2), data),
        lambda: finish(alice, data),
        lambda: bob.finish_untrusted(data, remote_id=ALICE_ID),
    ):
        with contextlib.suppress(RemoteProtocolError):
            step()

"""The Noise core against published vectors, an independent library, and hostile input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from quinkgl.crypto.noise import HandshakeState, Turn
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "noise.json").read_text())["vectors"]

PATTERN = "XXpsk0+psk3"
PSKS = (b"\x11" * 32, b"\x22" * 32)


def private(seed: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def make(
    *, initiator: bool, pattern: str = PATTERN, psks: tuple[bytes, ...] = PSKS, prologue: bytes = b"QGL1"
) -> HandshakeState:
    first = 1 if initiator else 3
    return HandshakeState(
        pattern,
        initiator=initiator,
        prologue=prologue,
        static=private(first),
        psks=psks,
        ephemeral=private(first + 1),
    )


def write(state: HandshakeState, payload: bytes) -> bytes:
    return state.write_tokens() + state.write_payload(payload)


def read(state: HandshakeState, message: bytes) -> bytes:
    return state.read_payload_untrusted(state.read_tokens_untrusted(message))


def pair(**changes) -> tuple[HandshakeState, HandshakeState]:
    return make(initiator=True, **changes), make(initiator=False, **changes)


def run(writer: HandshakeState, reader: HandshakeState, count: int) -> list[bytes]:
    """Exchange the first messages of a handshake; the next to write is the initiator for an even count."""
    messages = []
    for index in range(count):
        messages.append(write(writer, b"payload %d" % index))
        assert read(reader, messages[-1]) == b"payload %d" % index
        writer, reader = reader, writer
    return messages


# --- published vectors ---


@pytest.mark.req("S-001")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_published_vectors(vector):
    pattern = vector["protocol_name"].split("_")[1]

    def side(name: str) -> HandshakeState:
        return HandshakeState(
            pattern,
            initiator=name == "init",
            prologue=bytes.fromhex(vector[f"{name}_prologue"]),
            static=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{name}_static"])),
            psks=tuple(map(bytes.fromhex, vector[f"{name}_psks"])),
            ephemeral=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{name}_ephemeral"])),
        )

    initiator, responder = writer, reader = side("init"), side("resp")
    handshake, transport = vector["messages"][:3], vector["messages"][3:]
    for message in handshake:
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert write(writer, payload) == ciphertext
        assert read(reader, ciphertext) == payload
        writer, reader = reader, writer
    assert initiator.handshake_hash == responder.handshake_hash
    if "handshake_hash" in vector:
        assert initiator.handshake_hash.hex() == vector["handshake_hash"]
    assert initiator.split() == responder.split()

    # Transport messages continue in turn: the responder's is the first here, after three handshake messages.
    keys = dict(zip(("init", "resp"), map(PacketKeys, initiator.split()), strict=True))
    counters = {"init": 0, "resp": 0}
    for index, message in enumerate(transport):
        name = ("resp", "init")[index % 2]
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert keys[name].seal(counters[name], b"", payload) == ciphertext
        assert keys[name].open_untrusted(counters[name], b"", ciphertext) == payload
        counters[name] += 1


# --- an independent implementation, in both roles ---


def independent(
    pattern: str, psks: tuple[bytes, ...], prologue: bytes, *, initiator: bool
) -> NoiseConnection:
    connection = NoiseConnection.from_name(f"Noise_{pattern}_25519_AESGCM_SHA256".encode())
    if initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    if psks:
        connection.set_psks(psks=list(psks))
    connection.set_prologue(prologue)
    connection.set_keypair_from_private_bytes(Keypair.STATIC, bytes([9]) * 32)
    connection.start_handshake()
    return connection


@pytest.mark.req("P-021", "S-001", "S-002")
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize(
    ("pattern", "psks"), [("XX", ()), ("XXpsk0", PSKS[:1]), ("XXpsk3", PSKS[1:]), (PATTERN, PSKS)]
)
def test_against_an_independent_library(pattern, psks, ours_first):
    ours = make(initiator=ours_first, pattern=pattern, psks=psks)
    theirs = independent(pattern, psks, b"QGL1", initiator=not ours_first)
    for index in range(3):
        payload = b"payload %d" % index
        if (index % 2 == 0) == ours_first:
            assert theirs.read_message(write(ours, payload)) == payload
        else:
            assert read(ours, bytes(theirs.write_message(payload))) == payload
    assert theirs.handshake_finished
    assert ours.handshake_hash == theirs.get_handshake_hash()
    assert ours.remote_static == private(9).public_key().public_bytes_raw()

    initiator_key, responder_key = ours.split()
    sending, receiving = (initiator_key, responder_key) if ours_first else (responder_key, initiator_key)
    for number in range(3):
        assert theirs.decrypt(PacketKeys(sending).seal(number, b"", b"to them")) == b"to them"
        assert PacketKeys(receiving).open_untrusted(number, b"", theirs.encrypt(b"to us")) == b"to us"
    PacketKeys(sending).next_phase()
    theirs.rekey_outbound_cipher()
    assert PacketKeys(receiving).next_phase().open_untrusted(3, b"", theirs.encrypt(b"later")) == b"later"


# --- what both sides agree on ---


def test_both_sides_see_the_same_hash_between_tokens_and_payload():
    initiator, responder = pair()
    writer, reader = initiator, responder
    for _ in range(3):
        message = writer.write_tokens()
        signed = writer.handshake_hash
        message += writer.write_payload(b"signature over the hash")
        rest = reader.read_tokens_untrusted(message)
        assert reader.handshake_hash == signed
        reader.read_payload_untrusted(rest)
        writer, reader = reader, writer
    assert initiator.turn is responder.turn is Turn.SPLIT


@pytest.mark.req("S-005")
def test_message_sizes():
    initiator, responder = pair()
    sizes = [len(write(initiator, b""))]
    read(responder, write(make(initiator=True), b""))
    sizes.append(len(write(responder, b"")))
    initiator, responder = pair()
    run(initiator, responder, 2)
    sizes.append(len(write(initiator, b"")))
    assert sizes == [32 + 16, 32 + 48 + 16, 48 + 16]


@pytest.mark.req("K-003", "S-001", "S-006")
def test_other_psk_other_prologue_or_other_pattern_is_not_readable():
    message = write(make(initiator=True), b"hello")
    for changes in (
        {"psks": (b"\x12" * 32, PSKS[1])},
        {"prologue": b"QGL2"},
        {"pattern": "XXpsk0+psk2"},
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            read(make(initiator=False, **changes), message)
        assert caught.value.code is ErrorCode.E_HS_DECRYPT


@pytest.mark.req("K-003", "S-001")
def test_psk3_is_missed_at_the_last_message():
    initiator = make(initiator=True)
    responder = make(initiator=False, psks=(PSKS[0], b"\x33" * 32))
    run(initiator, responder, 2)
    with pytest.raises(RemoteProtocolError) as caught:
        read(responder, write(initiator, b"last"))
    assert caught.value.code is ErrorCode.E_HS_DECRYPT


# --- a failed message changes nothing ---


@pytest.mark.req("K-011", "S-004")
@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_damaged_bit_is_noticed_and_changes_nothing(index):
    initiator, responder = pair()
    run(initiator, responder, index)
    writer, reader = (initiator, responder) if index % 2 == 0 else (responder, initiator)
    message = write(writer, b"payload")
    before = (reader.handshake_hash, reader.remote_static, reader.turn)
    # The top bit of a key's last byte does not count (RFC 7748 section 5), but it is hashed all the same.
    for position in range(len(message)):
        damaged = bytearray(message)
        damaged[position] ^= 0x80
        with pytest.raises(RemoteProtocolError) as caught:
            read(reader, bytes(damaged))
        assert caught.value.code is ErrorCode.E_HS_DECRYPT
        assert (reader.handshake_hash, reader.remote_static, reader.turn) == before
    for length in range(len(message)):
        with pytest.raises(RemoteProtocolError):
            read(reader, message[:length])
        assert (reader.handshake_hash, reader.remote_static, reader.turn) == before
    assert read(reader, message) == b"payload"


def test_trailing_bytes_belong_to_the_payload_and_are_not_authentic():
    initiator, responder = pair()
    with pytest.raises(RemoteProtocolError):
        read(responder, write(initiator, b"") + b"\x00")


@pytest.mark.req("K-011")
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), index=st.sampled_from([0, 1, 2]))
def test_arbitrary_bytes_raise_one_error_and_the_handshake_goes_on(data, index):
    initiator, responder = pair()
    run(initiator, responder, index)
    writer, reader = (initiator, responder) if index % 2 == 0 else (responder, initiator)
    with pytest.raises(RemoteProtocolError) as caught:
        read(reader, data)
    assert caught.value.code is ErrorCode.E_HS_DECRYPT
    assert read(reader, write(writer, b"still here")) == b"still here"


@pytest.mark.req("K-011")
def test_an_oversized_message_is_refused_unread():
    with pytest.raises(RemoteProtocolError) as caught:
        make(initiator=False).read_tokens_untrusted(bytes(65536))
    assert "65536" in str(caught.value)


# --- public keys of small order ---

# RFC 7748 sections 6.1 and 7: u coordinates whose multiple by a clamped scalar, which is a multiple of 8, is
# the neutral element. The larger values are the same ones modulo the prime.
PRIME = 2**255 - 19
ORDER_8_U = 325606250916557431795983626356110631294008115727848805560023387167927233504
OTHER_ORDER_8_U = 39382357235489614581723060781553021112529911719440698176882885853963445705823
LOW_ORDER_U = (0, 1, ORDER_8_U, OTHER_ORDER_8_U, PRIME - 1, PRIME, PRIME + 1)


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_first_message_that_ends_inside_its_key_is_refused(size):
    # Without a pre-shared key nothing behind it would notice: the first payload is in the clear.
    initiator, responder = pair(pattern="XX", psks=())
    message = write(initiator, b"")
    with pytest.raises(RemoteProtocolError) as refused:
        responder.read_tokens_untrusted(message[:size])
    assert refused.value.code is ErrorCode.E_HS_DECRYPT
    assert read(responder, message) == b""


def test_the_list_of_low_order_points_is_true():
    for u in LOW_ORDER_U:
        with pytest.raises(ValueError, match="shared"):
            private(1).exchange(X25519PublicKey.from_public_bytes(u.to_bytes(32, "little")))


@pytest.mark.req("K-010", "S-003")
@pytest.mark.parametrize("u", LOW_ORDER_U)
def test_an_all_zero_diffie_hellman_result_is_refused(u):
    """The initiator of a handshake may choose any ephemeral key, and knows the psk."""
    low = u.to_bytes(32, "little")

    class LowOrder:
        """Stands for a private key whose public half has small order: the attacker needs no private key."""

        def public_key(self):
            return X25519PublicKey.from_public_bytes(low)

    attacker = HandshakeState(
        PATTERN,
        initiator=True,
        prologue=b"QGL1",
        static=private(1),
        psks=PSKS,
        ephemeral=LowOrder(),  # type: ignore[arg-type]
    )
    responder = make(initiator=False)
    assert read(responder, write(attacker, b"")) == b""
    with pytest.raises(RemoteProtocolError) as caught:
        responder.write_tokens()
    assert caught.value.code is ErrorCode.E_HS_DECRYPT


# --- misuse ---


def test_calls_out_of_turn_change_nothing():
    initiator, responder = pair()
    calls = (
        lambda state: state.write_tokens(),
        lambda state: state.write_payload(b""),
        lambda state: state.read_tokens_untrusted(bytes(200)),
        lambda state: state.read_payload_untrusted(bytes(200)),
        lambda state: state.split(),
    )
    turns = (
        Turn.WRITE_TOKENS,
        Turn.WRITE_PAYLOAD,
        Turn.READ_TOKENS,
        Turn.READ_PAYLOAD,
        Turn.SPLIT,
    )

    def others_fail(state: HandshakeState) -> None:
        before = state.handshake_hash
        for turn, call in zip(turns, calls, strict=True):
            if turn is not state.turn:
                with pytest.raises(LocalProtocolError, match=turn.value):
                    call(state)
        assert state.handshake_hash == before

    others_fail(initiator)
    others_fail(responder)
    message = initiator.write_tokens()
    others_fail(initiator)
    message += initiator.write_payload(b"")
    rest = responder.read_tokens_untrusted(message)
    others_fail(responder)
    responder.read_payload_untrusted(rest)
    read(initiator, write(responder, b""))
    read(responder, write(initiator, b""))
    others_fail(initiator)
    others_fail(responder)
    assert initiator.split() == responder.split()


@pytest.mark.parametrize("psks", [(), PSKS[:1], (*PSKS, PSKS[0]), (PSKS[0], b"short")])
def test_the_number_and_size_of_psks_is_checked(psks):
    with pytest.raises(LocalProtocolError, match="2 pre-shared keys of 32 bytes"):
        make(initiator=True, psks=psks)


@pytest.mark.parametrize("pattern", ["IK", "XXpsk4", "XXpsk", "XXpsk-1", "", "psk0"])
def test_unknown_patterns_are_refused(pattern):
    with pytest.raises(LocalProtocolError, match="XX with psk modifiers"):
        make(initiator=True, pattern=pattern, psks=())

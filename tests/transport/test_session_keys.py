"""Keys of sessions that run: changes while an object flows, exchanges, who is refused, the key log."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import quinkgl.transport.endpoint as endpoint_module
import quinkgl.transport.handshake as handshake_module
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.testing.endpoints import (
    MEMBER,
    A,
    B,
    Dialogue,
    Pair,
    ScriptedPeer,
    events_of,
    make_endpoint,
)
from quinkgl.testing.network import Link
from quinkgl.transport import (
    ConnectFailed,
    ConnectionConfig,
    ConnectionEstablished,
    ConnectionLost,
    EndpointConfig,
    KeyLimits,
    MessageReceived,
    ObjectArrived,
    ObjectSent,
    OfferReceived,
    PostQuantum,
    leaf_hashes,
    merkle_root,
)
from quinkgl.wire.cbor import encode
from quinkgl.wire.control import Channel, encode_control
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.frames import (
    PING,
    Ack,
    Close,
    Control,
    decode_frames_untrusted,
    encode_control_frame,
    encode_path_challenge,
)
from quinkgl.wire.key_log import parse_key_log
from quinkgl.wire.messages.secrets import ExchangeOffer, encode_exchange_message
from quinkgl.wire.messages.session import TransportParameters
from quinkgl.wire.packets import KEY_PHASE_BIT, PacketForm, packet_form

LOSSY = Link(delay_s=0.02, jitter_s=0.03, loss=0.05, duplicate=0.02, corrupt=0.02)


def config_of(post_quantum: PostQuantum = PostQuantum.OFFERED, **limits) -> EndpointConfig:
    return EndpointConfig(
        connection=ConnectionConfig(keys=KeyLimits(**limits)),
        post_quantum=post_quantum,
    )


def phases_of(lines: list[str]) -> list[int]:
    """How often each direction of a logged session changed its key."""
    entries = [entry for line in lines if (entry := parse_key_log(line)) is not None]
    directions = dict.fromkeys(entry.destination_id for entry in entries)
    return [max(entry.phase for entry in entries if entry.destination_id == name) for name in directions]


def send_object(pair: Pair, size: int, *, limit_s: float) -> None:
    body = random.Random(size).randbytes(size)
    leaves = leaf_hashes(body)

    def accept(event) -> None:
        if isinstance(event, OfferReceived):
            pair.b.machine.accept_object(event.peer, event.transfer, now=pair.now)

    pair.b.on_event = accept
    pair.a.machine.offer_object(
        pair.id_b, merkle_root(leaves), b"".join(leaves), b"", memoryview(body), now=pair.now
    )
    assert pair.run(lambda: events_of(pair.a, ObjectSent), limit_s=limit_s)
    assert [bytes(event.body) for event in events_of(pair.b, ObjectArrived)] == [body]


@pytest.mark.req("K-023", "P-015", "P-025")
@pytest.mark.parametrize("post_quantum", [PostQuantum.NO, PostQuantum.OFFERED])
def test_an_object_flows_on_while_keys_change(post_quantum):
    for seed in range(5):
        print(f"seed {seed}")
        lines: list[str] = []
        limits = ConnectionConfig(keys=KeyLimits(phase_packets=20, ratchet_s=0.7))
        config = EndpointConfig(connection=limits, post_quantum=post_quantum, keylog=lines.append)
        pair = Pair(seed, LOSSY, config_a=config, config_b=config_of(post_quantum, phase_packets=20))
        pair.connect()
        send_object(pair, 300_000, limit_s=120.0)
        assert min(phases_of(lines)) >= 3
        assert pair.is_open


@pytest.mark.req("K-021", "K-039")
def test_a_session_of_hours_renews_its_keys_by_itself():
    lines: list[str] = []
    config = EndpointConfig(keylog=lines.append)
    pair = Pair(1, Link(delay_s=0.03, loss=0.05), config_a=config)
    pair.connect()
    pair.run(limit_s=4 * 3600.0)
    assert pair.is_open
    # One mixing of ML-KEM-768, then every ten minutes a new key, every hour one with a new secret.
    assert all(24 <= phases <= 30 for phases in phases_of(lines))


@pytest.mark.req("K-020", "P-004")
def test_phase_bits_on_the_wire_tell_of_each_change():
    bits: dict = {A: set(), B: set()}
    pair = Pair(2, Link(delay_s=0.02), config_a=config_of(phase_packets=30), config_b=config_of())

    def tap(_now, source, _destination, data):
        if packet_form(data) in {PacketForm.FRAMES, PacketForm.BULK}:
            bits[source].add(data[0] & KEY_PHASE_BIT)

    pair.network.tap = tap
    pair.connect()
    send_object(pair, 100_000, limit_s=20.0)
    assert bits == {A: {0, KEY_PHASE_BIT}, B: {0, KEY_PHASE_BIT}}


@pytest.mark.req("K-037")
def test_messages_wait_until_the_keys_have_the_post_quantum_secret_and_keep_their_order():
    """Both sides speak as soon as they have a session; nothing leaves under the first keys."""
    pair = Pair(3, LOSSY)
    sent = {A: 0, B: 0}

    def talk(node, peer):
        def on_event(event):
            if isinstance(event, (ConnectionEstablished, MessageReceived)) and sent[node.address] < 50:
                body = bytes([sent[node.address]])
                assert node.machine.send_message(peer, Channel.GOSSIP, body, now=pair.now)
                sent[node.address] += 1

        return on_event

    pair.a.on_event, pair.b.on_event = talk(pair.a, pair.id_b), talk(pair.b, pair.id_a)
    pair.connect()
    assert pair.run(lambda: sent == {A: 50, B: 50}, limit_s=60.0)
    pair.run(limit_s=5.0)
    for node in (pair.a, pair.b):
        assert [event.data[0] for event in events_of(node, MessageReceived)] == list(range(50))


def test_a_quiet_endpoint_has_nothing_held_back():
    pair = Pair(4, Link(delay_s=0.05))
    pair.a.machine.connect(B, now=0.0)
    pair.run(pair.a.machine.peers, limit_s=1.0)
    assert pair.a.machine.send_message(pair.id_b, Channel.GOSSIP, b"\x01", now=pair.now)
    assert not pair.a.machine.is_quiet()
    assert pair.run(lambda: events_of(pair.b, MessageReceived), limit_s=5.0)
    pair.run(limit_s=1.0)
    assert pair.a.machine.is_quiet()


# Who is refused


@pytest.mark.req("K-038")
@pytest.mark.parametrize(
    ("ours", "theirs", "fits"),
    [
        (PostQuantum.REQUIRED, PostQuantum.NO, False),
        (PostQuantum.NO, PostQuantum.REQUIRED, False),
        (PostQuantum.REQUIRED, PostQuantum.OFFERED, True),
        (PostQuantum.OFFERED, PostQuantum.REQUIRED, True),
        (PostQuantum.OFFERED, PostQuantum.NO, True),
        (PostQuantum.NO, PostQuantum.OFFERED, True),
        (PostQuantum.NO, PostQuantum.NO, True),
    ],
)
def test_who_requires_the_post_quantum_secret_meets_only_those_who_offer_it(ours, theirs, fits):
    lines: list[str] = []
    config = EndpointConfig(post_quantum=ours, keylog=lines.append)
    pair = Pair(5, config_a=config, config_b=config_of(theirs))
    if not fits:
        pair.a.machine.connect(B, now=0.0)
        assert pair.run(lambda: events_of(pair.a, ConnectFailed), limit_s=1.0)
        assert [event.code for event in events_of(pair.a, ConnectFailed)] == [ErrorCode.E_HS_PQ_REQUIRED]
        assert not pair.b.machine.peers()
        return
    pair.connect()
    pair.run(limit_s=2.0)
    mixed = PostQuantum.NO not in (ours, theirs)
    assert phases_of(lines) == [int(mixed)] * 2


@pytest.mark.req("K-038")
def test_an_initiator_that_does_not_offer_what_is_required_gets_no_session(monkeypatch):
    endpoint = make_endpoint(1, config=config_of(PostQuantum.REQUIRED))
    peer = ScriptedPeer()
    endpoint.receive_datagram(peer.init(), A, now=0.0)
    answer = endpoint.next_datagram(0.0)
    with monkeypatch.context() as lenient:
        lenient.setattr(handshake_module, "_check_post_quantum_untrusted", lambda *_: None)
        finish = peer.finish(bytes(answer.data))
    endpoint.receive_datagram(finish, A, now=0.1)
    assert endpoint.peers() == ()
    assert endpoint.stats.dropped == {"E_HS_PQ_REQUIRED": 1}


def dialogue(post_quantum: PostQuantum) -> Dialogue:
    peer = ScriptedPeer(parameters=TransportParameters(pq=PostQuantum.OFFERED))
    return Dialogue(peer=peer, config=config_of(post_quantum))


@pytest.mark.req("K-038")
@pytest.mark.parametrize("channel", [Channel.OBJECTS, Channel.MANIFEST, Channel.GOSSIP])
@pytest.mark.parametrize("post_quantum", [PostQuantum.OFFERED, PostQuantum.REQUIRED])
def test_a_message_before_the_secret_ends_the_session(channel, post_quantum):
    table = dialogue(post_quantum)
    heard = table.deliver(table.peer.seal(encode_control_frame(0, encode_control(channel, b"\xa0"))))
    assert [frame.code for frame in heard if isinstance(frame, Close)] == [ErrorCode.E_HS_PQ_REQUIRED]
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code is ErrorCode.E_HS_PQ_REQUIRED
    assert not table.events_of(MessageReceived)


@pytest.mark.req("K-036")
def test_a_responder_changes_keys_when_its_answer_was_read_and_not_before():
    """An acknowledgement of some later packet does not say that the stream up to the answer has arrived."""
    table = Dialogue()
    public = X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    offer = encode_control(Channel.SESSION, encode_exchange_message(ExchangeOffer(2, public)))
    heard = table.deliver(table.peer.seal(encode_control_frame(0, offer)))
    assert [type(frame) for frame in heard] == [Ack, Control]
    answer = table.peer.received[-1]

    def phase_bit() -> int:
        """The phase of the next packet that carries something."""
        table.deliver(table.peer.seal(encode_path_challenge(bytes(8))))
        return table.datagrams[-1][0] & KEY_PHASE_BIT

    assert phase_bit() == 0
    assert table.peer.received[-1] > answer
    table.deliver(table.peer.seal(table.peer.acknowledge(table.peer.received[-1])))
    assert phase_bit() == 0
    table.deliver(table.peer.seal(table.peer.acknowledge(answer)))
    table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"x")
    packet = table.endpoint.next_datagram(table.now).data
    assert packet[0] & KEY_PHASE_BIT


@pytest.mark.req("K-037")
def test_nothing_of_an_application_leaves_before_the_secret():
    table = dialogue(PostQuantum.OFFERED)
    assert table.command("send_message", table.peer.peer_id, Channel.GOSSIP, b"\x01")
    body = bytes(1000)
    leaves = leaf_hashes(body)
    root = merkle_root(leaves)
    table.command("offer_object", table.peer.peer_id, root, b"".join(leaves), b"", memoryview(body))
    heard = table.wait(5.0)
    assert not [frame for frame in heard if type(frame).__name__ == "Control"]


def test_a_library_without_ml_kem_does_not_offer_it(monkeypatch):
    monkeypatch.setattr(endpoint_module, "has_ml_kem", lambda: False)
    with pytest.raises(LocalProtocolError, match="ML-KEM-768"):
        make_endpoint(1, config=config_of(PostQuantum.REQUIRED))
    lines: list[str] = []
    pair = Pair(6, config_a=EndpointConfig(keylog=lines.append))
    pair.connect()
    pair.run(limit_s=2.0)
    assert phases_of(lines) == [0, 0]


@pytest.mark.req("K-035")
def test_an_initiator_asks_for_an_acknowledgement_under_the_new_key_as_soon_as_it_has_the_answer():
    """Otherwise a responder with nothing to say would not learn when its own direction may change."""
    lines: list[str] = []
    pair = Pair(8, Link(delay_s=0.05), config_a=EndpointConfig(keylog=lines.append))
    from_a: list[tuple[float, bytes]] = []
    pair.network.tap = lambda now, source, _destination, data: (
        from_a.append((now, data)) if source == A and packet_form(data) is PacketForm.FRAMES else None
    )
    pair.connect()
    pair.run(limit_s=2.0)
    mixed = [
        PacketKeys(entry.key)
        for line in lines
        if (entry := parse_key_log(line)) and entry.phase == 1 and entry.destination_id == from_a[0][1][1:9]
    ]
    when, packet = next((now, data) for now, data in from_a if data[0] & KEY_PHASE_BIT)
    payload = mixed[0].open_untrusted(int.from_bytes(packet[9:17], "big"), packet[:17], packet[17:])
    assert payload is not None
    assert any(not isinstance(frame, Ack) for frame in decode_frames_untrusted(payload))
    assert when < 4 * 0.05 + 0.06  # INIT, RESP, OFFER behind FIN, REPLY


# Violations end the session with their code


@pytest.mark.req("K-025")
def test_an_older_key_after_a_newer_one_ends_the_session():
    table = Dialogue()
    peer = table.peer
    number = peer.next_number
    header = bytes([0x40 | KEY_PHASE_BIT]) + peer.remote_id + number.to_bytes(8, "big")
    table.deliver(header + peer.session.send_keys.next_phase().seal(number, header, PING))
    assert not table.events_of(ConnectionLost)
    table.deliver(peer.seal(PING, number=number + 1))
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code is ErrorCode.E_KEY_UPDATE


@pytest.mark.req("K-028")
def test_too_many_forged_packets_end_the_session():
    table = Dialogue(config=config_of(integrity_failures=50))
    packet = bytearray(table.peer.seal(PING))
    packet[-1] ^= 1
    for count in range(1, 51):
        assert not table.events_of(ConnectionLost)
        packet[9:17] = (1000 + count).to_bytes(8, "big")
        table.deliver(bytes(packet))
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code is ErrorCode.E_AEAD_LIMIT


@pytest.mark.req("K-030")
@pytest.mark.parametrize("kind", [0, 3, 63, 64, 1000])
def test_a_message_of_unknown_kind_on_the_channel_of_keys_ends_the_session(kind):
    """Elsewhere kinds from 64 on are ignored; here keys depend on each message."""
    table = Dialogue()
    message = encode({0: kind, 1: 2, 2: bytes(range(32))})
    table.deliver(table.peer.seal(encode_control_frame(0, encode_control(Channel.SESSION, message))))
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code is ErrorCode.E_SCHEMA


@pytest.mark.req("K-040")
def test_an_exchange_that_stands_still_ends_the_session():
    table = dialogue(PostQuantum.OFFERED)
    for _ in range(60):
        table.deliver(table.peer.seal(PING, table.peer.acknowledge()))
        table.wait(10.0)
        if table.events_of(ConnectionLost):
            break
    (lost,) = table.events_of(ConnectionLost)
    assert lost.code is ErrorCode.E_KEY_UPDATE


# The key log


@pytest.mark.req("K-005")
def test_with_a_key_log_a_whole_capture_can_be_read():
    """Every short packet of a session opens under a key of its direction, found as the page says."""
    lines: list[str] = []
    config = EndpointConfig(
        connection=ConnectionConfig(keys=KeyLimits(phase_packets=25, ratchet_s=0.5)), keylog=lines.append
    )
    pair = Pair(7, LOSSY, config_a=config, config_b=config_of(phase_packets=40))
    capture: list[bytes] = []
    pair.network.tap = lambda _now, _source, _destination, data: capture.append(data)
    pair.connect()
    send_object(pair, 200_000, limit_s=60.0)
    entries = [entry for line in lines if (entry := parse_key_log(line)) is not None]
    assert len({entry.handshake_hash for entry in entries}) == 1
    opened = 0
    ids = {entry.destination_id for entry in entries}
    for data in capture:
        form = packet_form(data)
        if form is PacketForm.LONG or data[1:9] not in ids:
            continue  # a damaged id may be answered with a stateless reset, which nobody can open
        size = 29 if form is PacketForm.BULK else 17
        number = int.from_bytes(data[9:17], "big")
        keys = [
            PacketKeys(entry.key)
            for entry in entries
            if entry.destination_id == data[1:9] and entry.phase & 1 == data[0] >> 5 & 1
        ]
        texts = [key.open_untrusted(number, data[:size], data[size:]) for key in keys]
        assert any(text is not None for text in texts), number
        assert not any(text and (MEMBER.root in text or MEMBER.psk in text) for text in texts)
        opened += 1
    assert opened > 200


@pytest.mark.req("K-005")
def test_a_key_log_says_with_which_packet_a_sender_began_a_key():
    lines: list[str] = []
    keys = ConnectionConfig(keys=KeyLimits(phase_packets=25))
    config = EndpointConfig(connection=keys, post_quantum=PostQuantum.NO, keylog=lines.append)
    pair = Pair(1, Link(delay_s=0.01), config_a=config)
    sent: list[bytes] = []
    pair.network.tap = lambda _now, source, _destination, data: sent.append(data) if source == A else None
    pair.connect()
    send_object(pair, 2_000_000, limit_s=60.0)
    entries = [entry for line in lines if (entry := parse_key_log(line)) is not None]
    entries = [entry for entry in entries if entry.destination_id == sent[-1][1:9]]
    numbers: dict[int, list[int]] = {}
    for data in sent:
        form = packet_form(data)
        size = 29 if form is PacketForm.BULK else 17
        number = int.from_bytes(data[9:17], "big")
        for entry in entries if form is not PacketForm.LONG else ():
            if PacketKeys(entry.key).open_untrusted(number, data[:size], data[size:]) is not None:
                numbers.setdefault(entry.phase, []).append(number)
    assert [entry.phase for entry in entries] == sorted(numbers) == [0, 1]
    assert max(numbers[0]) < entries[1].first_number <= min(numbers[1])

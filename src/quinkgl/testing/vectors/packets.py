"""Operations of the families of short packets."""

from __future__ import annotations

import hashlib

from quinkgl.crypto.agreement import ANSWER_BYTES, PUBLIC_BYTES, Method, Offer, answer_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.testing.vectors.core import DROP
from quinkgl.testing.vectors.ours import Fields, Json, Refused, operation
from quinkgl.transport.key_schedule import KeyLimits, KeySchedule
from quinkgl.transport.received import ReceivedPackets
from quinkgl.transport.secret_exchange import DOMAINS
from quinkgl.transport.stateless_reset import ResetTokens, reset_key, reset_size, reset_token
from quinkgl.wire.frames import decode_frames_untrusted
from quinkgl.wire.limits import CONSTANTS, LIMITS
from quinkgl.wire.packets import (
    BULK_BIT,
    BULK_HEADER,
    BULK_OVERHEAD_BYTES,
    KEY_PHASE_BIT,
    SHORT_FORM,
    SHORT_HEADER,
    SHORT_OVERHEAD_BYTES,
    PacketForm,
    packet_form,
)


def _hex(given: Fields, *names: str) -> list[bytes]:
    return [bytes.fromhex(given[name]) for name in names]


def _first(given: Fields, kind: int) -> int:
    return int(SHORT_FORM | kind | KEY_PHASE_BIT * (given["phase"] & 1) | given["random_bits"])


@operation("packet", "seal-frames")
def seal_frames(given: Fields) -> tuple[Fields, Fields]:
    """Seal a packet with frames."""
    key, destination, frames = _hex(given, "key", "destination", "frames")
    number = int(given["number"])
    header = SHORT_HEADER.pack(_first(given, 0), destination, number)
    return {"header": header}, {"datagram": header + PacketKeys(key).seal(number, header, frames)}


@operation("packet", "seal-bulk")
def seal_bulk(given: Fields) -> tuple[Fields, Fields]:
    """Seal a bulk packet."""
    key, destination, chunk = _hex(given, "key", "destination", "chunk")
    number = int(given["number"])
    offset = int(given["offset"])
    header = BULK_HEADER.pack(_first(given, BULK_BIT), destination, number, given["transfer"], offset)
    return {"header": header}, {"datagram": header + PacketKeys(key).seal(number, header, chunk)}


@operation("packet", "open")
def open_packet(given: Fields) -> tuple[Fields, Fields]:
    """Open a short packet."""
    key, data = _hex(given, "key", "datagram")
    form = packet_form(data)
    bulk = form is PacketForm.BULK
    if form not in {PacketForm.BULK, PacketForm.FRAMES}:
        raise Refused(DROP)
    if len(data) < (BULK_OVERHEAD_BYTES if bulk else SHORT_OVERHEAD_BYTES):
        raise Refused(DROP)
    transfer = offset = None
    if bulk:
        header = data[: BULK_HEADER.size]
        first, destination, number, transfer, offset = BULK_HEADER.unpack(header)
    else:
        header = data[: SHORT_HEADER.size]
        first, destination, number = SHORT_HEADER.unpack(header)
    plaintext = PacketKeys(key).open_untrusted(number, header, data[len(header) :])
    if plaintext is None:
        raise Refused(DROP)
    if not bulk:
        decode_frames_untrusted(plaintext)
    return {"header": header}, {
        "bulk": bulk,
        "phase": int(bool(first & KEY_PHASE_BIT)),
        "destination": destination,
        "number": number,
        "transfer": transfer,
        "offset": offset,
        "plaintext": plaintext,
    }


@operation("packet", "window")
def window(given: Fields) -> tuple[Fields, Fields]:
    """Take numbers in order."""
    received, taken = ReceivedPackets(), []
    for number in map(int, given["numbers"]):
        taken.append(received.is_new(number))
        if taken[-1]:
            received.add(number, 0.0, eliciting=True, max_ack_delay_s=LIMITS.max_ack_delay_s)
    return {}, {"taken": taken, "ranges": received.take_ack(0.0).ranges}


@operation("key-phase", "chain")
def chain(given: Fields) -> tuple[Fields, Fields]:
    """Derive the keys of the next phases."""
    keys = [PacketKeys(bytes.fromhex(given["key"]))]
    for _ in range(3):
        keys.append(keys[-1].next_phase())
    return {}, {"keys": [each.key for each in keys[1:]]}


@operation("key-phase", "receive")
def receive(given: Fields) -> tuple[Fields, Fields]:
    """Open packets of several phases in order."""
    first = PacketKeys(bytes.fromhex(given["key"]))
    schedule = KeySchedule(
        send=PacketKeys(bytes(CONSTANTS.key_bytes)),
        receive=first,
        handshake_hash=bytes(CONSTANTS.key_bytes),
        initiator=False,
        post_quantum=False,
        source=KeySource.system(),
        limits=KeyLimits(),
        probe_timeout=lambda: 1.0,
        now=0.0,
    )
    phases: list[int | None] = []
    texts: list[bytes] = []
    for data in map(bytes.fromhex, given["datagrams"]):
        header = data[: SHORT_HEADER.size]
        first_byte, _, number = SHORT_HEADER.unpack(header)
        text = schedule.open_untrusted(number, first_byte, header, data[len(header) :], 0.0)
        bit = int(bool(first_byte & KEY_PHASE_BIT))
        before = schedule.receive_phase & 1 != bit
        phases.append(None if text is None else schedule.receive_phase - before)
        texts.append(text or b"")
    return {"next_key": first.next_phase().key}, {"phases": phases, "plaintexts": texts}


@operation("pq-mix", "mix")
def mix(given: Fields) -> tuple[Fields, Fields]:
    """Take a secret into a key."""
    key, secret, session_hash = _hex(given, "key", "secret", "h")
    domain = DOMAINS[Method(given["method"])]
    return {}, {"next_key": PacketKeys(key).mixed(secret, session_hash, domain).key}


def _drawing(private: bytes) -> KeySource:
    return KeySource(lambda count: private[:count])


@operation("pq-mix", "offer")
def offer(given: Fields) -> tuple[Fields, Fields]:
    """Make the value of an OFFER."""
    source = _drawing(bytes.fromhex(given["private"]))
    return {}, {"value": Offer(Method(given["method"]), source).public}


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise Refused("E_SCHEMA")
    return value


@operation("pq-mix", "answer")
def answer(given: Fields) -> tuple[Fields, Fields]:
    """Answer an OFFER of X25519."""
    private, value = _hex(given, "private", "offer")
    reply, secret = answer_untrusted(Method.X25519, value, _drawing(private))
    return {}, {"value": reply, "secret": secret}


@operation("pq-mix", "conclude")
def conclude(given: Fields) -> tuple[Fields, Fields]:
    """Take a REPLY."""
    private, reply = _hex(given, "private", "reply")
    method = Method(given["method"])
    return {}, {
        "secret": Offer(method, _drawing(private)).secret_untrusted(_sized(reply, ANSWER_BYTES[method]))
    }


@operation("pq-mix", "encapsulation-key")
def encapsulation_key(given: Fields) -> tuple[Fields, Fields]:
    """Answer an OFFER of ML-KEM-768; the ciphertext is a random one."""
    value = bytes.fromhex(given["value"])
    answer_untrusted(Method.ML_KEM_768, _sized(value, PUBLIC_BYTES[Method.ML_KEM_768]), KeySource.system())
    return {}, {"sha256": hashlib.sha256(value).digest()}


@operation("stateless-reset", "token")
def token(given: Fields) -> tuple[Fields, Fields]:
    """Derive a token."""
    seed, swarm, connection = _hex(given, "seed", "swarm_id", "connection_id")
    key = reset_key(Identity.from_seed(seed), swarm)
    return {"reset_key": key}, {"token": reset_token(key, connection)}


@operation("stateless-reset", "size")
def size(given: Fields) -> tuple[Fields, Fields]:
    """Return the bounds of a reset's size."""
    bounds = [
        reset_size(given["bytes"], drawn) for drawn in (CONSTANTS.reset_min_bytes, CONSTANTS.reset_max_bytes)
    ]
    if None in bounds:
        raise Refused(DROP)
    return {}, {"least": bounds[0], "most": bounds[1]}


@operation("stateless-reset", "recognize")
def recognize(given: Fields) -> tuple[Fields, Fields]:
    """Find the session that a datagram resets."""
    tokens = ResetTokens(bytes(CONSTANTS.key_bytes))
    for index, each in enumerate(given["tokens"]):
        tokens.replace(bytes([index]), (), (bytes.fromhex(each),))
    owner = tokens.owner_of(bytes.fromhex(given["datagram"]))
    if owner is None:
        raise Refused(DROP)
    found: Json = owner[0]
    return {}, {"token": given["tokens"][found], "index": found}

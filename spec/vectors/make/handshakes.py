"""Families of the handshake: Noise messages with their payloads, long packets, the cookie, versions."""

from __future__ import annotations

from typing import Any

from ref import SpecError, handshake, identity, noise
from ref.manifest import Keys, fetch_keys, member_keys
from ref.messages import encode_map
from ref.primitives import x25519_public

from .family import HEX, NUM, Family, Json, array, either, record
from .raw import flip, item

NULL: Json = {"type": "null"}
MANIFEST = b"a manifest"
SIDE = record(
    seed=HEX,
    static=HEX,
    ephemeral=HEX,
    connection_id=HEX,
    observed=HEX,
    post_quantum=NUM,
)
SWARM = record(manifest=HEX, join_secret=HEX, mode=NUM, versions=array(NUM))
LIMITS_OF_SIDE = {"idle_timeout_ms": 60000, "max_datagram_bytes": 65507, "max_ack_delay_ms": 25}

hands = Family(
    "noise",
    "The handshake: Noise_XXpsk0+psk3_25519_AESGCM_SHA256 with prologue, psk and signed payloads (chapter "
    "5.2 to 5.5).",
    "`handshake`: derive the keys of the swarm in the mode (fetch: of the manifest's hash), build the "
    "prologue for version 1 and the offered "
    "versions, and run both sides with these private keys. Each payload has peer id, signature, parameters "
    "(idle 60,000 ms, datagrams of 65,507 "
    "bytes, delay 25 ms, post-quantum as given), the receiver's address and the connection id, and no peer "
    "record. `respond`: read message 1. "
    "`initiate`: write message 1, then read `message_2` as the initiator. `accept`: read `message_1`, "
    "write message 2, then read `message_3`.",
)


def keys_of(swarm: dict[str, Json]) -> Keys:
    """Return the keys of a swarm in a mode."""
    whole, secret = bytes.fromhex(swarm["manifest"]), bytes.fromhex(swarm["join_secret"])
    member = member_keys(whole, secret)
    return {1: member, 2: fetch_keys(member.swarm_id, secret)}[swarm["mode"]]


class Side:
    """One side of a handshake, step by step."""

    def __init__(self, swarm: dict[str, Json], side: dict[str, Json], *, initiator: bool) -> None:
        keys = keys_of(swarm)
        self.given, self.initiator = side, initiator
        self.seed, self.static = bytes.fromhex(side["seed"]), bytes.fromhex(side["static"])
        self.peer = identity.peer_id(self.seed)
        self.prologue = handshake.prologue(
            1, keys.swarm_id, swarm["mode"], [int(each) for each in swarm["versions"]]
        )
        self.state = noise.start(
            initiator=initiator, prologue=self.prologue, psk=keys.psk, static=self.static
        )
        self.h_in = self.payload = b""

    def tokens(self) -> bytes:
        """Write the tokens of the next message."""
        ephemeral = b"" if self.state.message == 2 else bytes.fromhex(self.given["ephemeral"])
        self.state, data = noise.write_tokens(self.state, ephemeral)
        self.h_in = self.state.h
        return data

    def finish(self, payload: bytes) -> bytes:
        """Write the payload of the message."""
        self.payload = payload
        self.state, data = noise.write_payload(self.state, payload)
        return data

    def fields(self, *, h: bytes, static: bytes, role_of_initiator: bool) -> dict[str, Any]:
        """Return what stands in this side's payload."""
        signed = handshake.identity_signed(initiator=role_of_initiator, h=h, static=static)
        return {
            "peer": self.peer,
            "signature": identity.sign(self.seed, signed),
            "parameters": {**LIMITS_OF_SIDE, "post_quantum": self.given["post_quantum"]},
            "address": bytes.fromhex(self.given["observed"]),
            "connection_id": bytes.fromhex(self.given["connection_id"]),
        }

    def own(self) -> bytes:
        """Return the payload that this side writes."""
        return encode_map(
            "payload",
            self.fields(h=self.h_in, static=x25519_public(self.static), role_of_initiator=self.initiator),
        )

    def write(self) -> bytes:
        """Write message 2 or 3 as it ought to be."""
        return self.tokens() + self.finish(self.own())

    def read(self, message: bytes) -> dict[str, Any]:
        """Read message 2 or 3; nothing changes where it is refused."""
        state, rest = noise.read_tokens(self.state, message)
        h_in = state.h
        state, payload = noise.read_payload(state, rest)
        fields = handshake.decode_payload(payload, initiator=not self.initiator, h=h_in, static=state.rs)
        modes = {self.given["post_quantum"], fields["parameters"].get("post_quantum", 0)}
        if modes == {0, 2}:
            raise SpecError("E_HS_PQ_REQUIRED", "one side requires what the other does not offer")
        self.state, self.h_in, self.payload = state, h_in, payload
        return fields

    def hello(self) -> bytes:
        """Write message 1."""
        return self.tokens() + self.finish(b"")

    def heard(self, message: bytes) -> None:
        """Read message 1."""
        state, rest = noise.read_tokens(self.state, message)
        state, payload = noise.read_payload(state, rest)
        if payload:
            raise SpecError("E_PROTOCOL", "message 1 has a payload")
        self.state = state


def _end(side: Side) -> dict[str, Json]:
    initiator, responder = noise.split(side.state)
    return {"h": side.state.h, "initiator_key": initiator, "responder_key": responder}


_KEYS = {"h": HEX, "initiator_key": HEX, "responder_key": HEX}


@hands.op(
    "handshake",
    "both sides' keys to the messages and the session",
    takes=record(swarm=SWARM, initiator=SIDE, responder=SIDE),
    mid=record(
        prologue=HEX,
        h_after_message_1=HEX,
        h_in_message_2=HEX,
        payload_2=HEX,
        h_in_message_3=HEX,
        payload_3=HEX,
    ),
    gives=record(
        message_1=HEX, message_2=HEX, message_3=HEX, initiator_peer=HEX, responder_peer=HEX, **_KEYS
    ),
)
def _handshake(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    first, second = (
        Side(given["swarm"], given[name], initiator=name == "initiator")
        for name in ("initiator", "responder")
    )
    message_1 = first.hello()
    second.heard(message_1)
    mid = {"prologue": first.prologue, "h_after_message_1": second.state.h}
    message_2 = second.write()
    first.read(message_2)
    mid |= {"h_in_message_2": second.h_in, "payload_2": second.payload}
    message_3 = first.write()
    second.read(message_3)
    mid |= {"h_in_message_3": first.h_in, "payload_3": first.payload}
    return mid, {
        "message_1": message_1,
        "message_2": message_2,
        "message_3": message_3,
        "initiator_peer": first.peer,
        "responder_peer": second.peer,
        **_end(second),
    }


@hands.op(
    "respond",
    "message 1 to message 2",
    takes=record(swarm=SWARM, responder=SIDE, message_1=HEX),
    gives=record(message_2=HEX),
)
def _respond(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    side = Side(given["swarm"], given["responder"], initiator=False)
    side.heard(bytes.fromhex(given["message_1"]))
    return {}, {"message_2": side.write()}


@hands.op(
    "initiate",
    "message 2 to message 3",
    takes=record(swarm=SWARM, initiator=SIDE, message_2=HEX, expected_peer=either(HEX, NULL)),
    gives=record(peer=HEX, connection_id=HEX, message_3=HEX, **_KEYS),
)
def _initiate(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    side = Side(given["swarm"], given["initiator"], initiator=True)
    side.hello()
    fields = side.read(bytes.fromhex(given["message_2"]))
    if given["expected_peer"] is not None and fields["peer"] != bytes.fromhex(given["expected_peer"]):
        raise SpecError("E_HS_IDENTITY", "another peer than expected (S-022)")
    message_3 = side.write()
    return {}, {
        "peer": fields["peer"],
        "connection_id": fields["connection_id"],
        "message_3": message_3,
        **_end(side),
    }


@hands.op(
    "accept",
    "message 3 to the session",
    takes=record(swarm=SWARM, responder=SIDE, message_1=HEX, message_3=HEX, source_id=HEX),
    gives=record(peer=HEX, connection_id=HEX, **_KEYS),
)
def _accept(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    side = Side(given["swarm"], given["responder"], initiator=False)
    side.heard(bytes.fromhex(given["message_1"]))
    side.write()
    fields = side.read(bytes.fromhex(given["message_3"]))
    if fields["connection_id"] != bytes.fromhex(given["source_id"]):
        raise SpecError("E_HS_PARAMS", "another connection id than the INIT's source (S-027)")
    return {}, {"peer": fields["peer"], "connection_id": fields["connection_id"], **_end(side)}


def _hex(**fields: Json) -> dict[str, Json]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}


OPEN = _hex(manifest=MANIFEST, join_secret=b"", mode=1, versions=[1])
A = _hex(
    seed=b"\x11" * 32,
    static=b"\x33" * 32,
    ephemeral=b"\x55" * 32,
    connection_id=bytes.fromhex("a0a1a2a3a4a5a6a7"),
    observed=bytes.fromhex("c00002021b5a"),
    post_quantum=0,
)
B = _hex(
    seed=b"\x22" * 32,
    static=b"\x44" * 32,
    ephemeral=b"\x66" * 32,
    connection_id=bytes.fromhex("b0b1b2b3b4b5b6b7"),
    observed=bytes.fromhex("c00002011b59"),
    post_quantum=0,
)
V6 = "20010db80000000000000000000000011b59"
for _slug, _swarm, _a, _b in (
    ("open", OPEN, A, B),
    ("join-secret", {**OPEN, "join_secret": b"secret".hex()}, A, B),
    ("grease-version", {**OPEN, "versions": [0x1A2A3A4A, 1]}, A, B),
    ("fetch-mode", {**OPEN, "mode": 2}, A, B),
    ("post-quantum-required", OPEN, {**A, "post_quantum": 2, "observed": V6}, {**B, "post_quantum": 1}),
    ("post-quantum-offered-to-one-without", OPEN, {**A, "post_quantum": 1}, B),
):
    hands.valid(
        f"handshake-{_slug}",
        "handshake",
        "S-001 S-006 S-020 S-027 K-003",
        swarm=_swarm,
        initiator=_a,
        responder=_b,
    )


def sides(swarm: dict[str, Json] = OPEN, a: dict[str, Json] = A, b: dict[str, Json] = B) -> tuple[Side, Side]:
    """Return both sides before message 1."""
    return Side(swarm, a, initiator=True), Side(swarm, b, initiator=False)


FIRST, SECOND = sides()
M1 = FIRST.hello()
SECOND.heard(M1)
M2 = SECOND.write()
FIRST.read(M2)
M3 = FIRST.write()
hands.valid("respond", "respond", "S-005 S-012", swarm=OPEN, responder=B, message_1=M1)
hands.valid(
    "initiate", "initiate", "S-021 S-022", swarm=OPEN, initiator=A, message_2=M2, expected_peer=SECOND.peer
)
hands.valid(
    "initiate-unknown-peer",
    "initiate",
    "S-021",
    "whoever answers is welcome",
    swarm=OPEN,
    initiator=A,
    message_2=M2,
    expected_peer=None,
)
hands.valid(
    "accept",
    "accept",
    "S-021 S-027",
    swarm=OPEN,
    responder=B,
    message_1=M1,
    message_3=M3,
    source_id=A["connection_id"],
)

_LOW = (
    ("0", bytes(32)),
    ("1", (1).to_bytes(32, "little")),
    ("p-minus-1", (2**255 - 20).to_bytes(32, "little")),
)


def with_payload(payload: bytes) -> bytes:
    """Return a message 1 with a payload."""
    side, _ = sides()
    return side.tokens() + side.finish(payload)


def with_ephemeral(point: bytes) -> bytes:
    """Return a message 1 whose ephemeral key is any 32 bytes."""
    state = noise.mix_psk(FIRST_STATE)
    state = noise.mix_key(noise.mix_hash(state, point), point)
    return point + noise.write_payload(state, b"")[1]


FIRST_STATE = sides()[0].state
_OTHER = {
    "other-manifest": ("the keys of another manifest", {**OPEN, "manifest": b"a manifesu".hex()}),
    "other-secret": ("the keys with another join secret", {**OPEN, "join_secret": "00"}),
    "other-mode": ("the keys of fetch mode", {**OPEN, "mode": 2}),
    "other-versions": ("another list of versions in the prologue", {**OPEN, "versions": [1, 2]}),
    "versions-reordered": ("the list of versions in another order", {**OPEN, "versions": [0x1A2A3A4A, 1]}),
}
for _slug, (_why, _swarm) in _OTHER.items():
    hands.invalid(
        f"respond-{_slug}",
        "respond",
        "E_HS_DECRYPT",
        "S-004 S-006",
        _why,
        swarm=_swarm,
        responder=B,
        message_1=M1,
    )
for _slug, _why, _message in (
    ("empty", "no bytes", b""),
    ("key-cut", "the ephemeral key has 31 bytes", M1[:31]),
    ("tag-missing", "the tag is missing", M1[:32]),
    ("tag-cut", "the tag has 15 bytes", M1[:47]),
    ("longer", "a byte follows the tag", M1 + b"\0"),
    ("ephemeral-changed", "a bit of the ephemeral key is turned over", flip(M1, 0)),
    (
        "ephemeral-high-bit",
        "the highest bit of the ephemeral key is turned over: it is hashed as it stands",
        flip(M1, 31, 0x80),
    ),
    ("tag-changed", "a bit of the tag is turned over", flip(M1, 47)),
):
    hands.invalid(
        f"respond-{_slug}",
        "respond",
        "E_HS_DECRYPT",
        "S-004 K-011",
        _why,
        swarm=OPEN,
        responder=B,
        message_1=_message,
    )
for _slug, _point in _LOW:
    hands.invalid(
        f"respond-small-order-{_slug}",
        "respond",
        "E_HS_DECRYPT",
        "S-003 K-010",
        "the ephemeral key has small order",
        ["SmallOrder"],
        swarm=OPEN,
        responder=B,
        message_1=with_ephemeral(_point),
    )
hands.invalid(
    "respond-payload",
    "respond",
    "E_PROTOCOL",
    "S-005",
    "message 1 has a payload of one byte",
    swarm=OPEN,
    responder=B,
    message_1=with_payload(b"\0"),
)


def _refused_2(
    slug: str,
    code: str,
    rules: str,
    why: str,
    message: bytes,
    *,
    a: dict[str, Json] = A,
    expected: bytes | None = None,
) -> None:
    hands.invalid(
        f"initiate-{slug}",
        "initiate",
        code,
        rules,
        why,
        swarm=OPEN,
        initiator=a,
        message_2=message,
        expected_peer=expected,
    )


def _refused_3(
    slug: str,
    code: str,
    rules: str,
    why: str,
    message: bytes,
    *,
    b: dict[str, Json] = B,
    source: str = A["connection_id"],
) -> None:
    hands.invalid(
        f"accept-{slug}",
        "accept",
        code,
        rules,
        why,
        swarm=OPEN,
        responder=b,
        message_1=M1,
        message_3=message,
        source_id=source,
    )


for _slug, _why, _at in (
    ("ephemeral-changed", "a bit of the ephemeral key is turned over", 0),
    ("static-changed", "a bit of the sealed static key is turned over", 40),
    ("static-tag-changed", "a bit of the tag of the static key is turned over", 79),
    ("payload-changed", "a bit of the sealed payload is turned over", 80),
    ("tag-changed", "a bit of the last tag is turned over", -1),
):
    _refused_2(_slug, "E_HS_DECRYPT", "S-004 K-011", _why, flip(M2, _at))
for _slug, _why, _message in (
    ("empty", "no bytes", b""),
    ("tokens-cut", "the sealed static key is cut", M2[:60]),
    ("no-payload", "nothing follows the static key", M2[:80]),
    ("cut", "the last byte is missing", M2[:-1]),
    ("longer", "a byte follows", M2 + b"\0"),
    ("message-1", "the initiator's own message 1 comes back", M1),
    ("message-3", "message 3 in its place", M3),
):
    _refused_2(_slug, "E_HS_DECRYPT", "S-004 K-011", _why, _message)
for _slug, _point in _LOW:
    _refused_2(
        f"small-order-{_slug}",
        "E_HS_DECRYPT",
        "S-003 K-010",
        "the ephemeral key has small order",
        _point + M2[32:],
    )


def second_with(change: Any) -> bytes:
    """Return a message 2 whose payload fields were changed after they were signed."""
    first, second = sides()
    second.heard(first.hello())
    tokens = second.tokens()
    fields = second.fields(h=second.h_in, static=x25519_public(second.static), role_of_initiator=False)
    made = change(second, fields)
    return tokens + second.finish(made if isinstance(made, bytes) else encode_map("payload", made))


def third_with(change: Any) -> bytes:
    """Return a message 3 whose payload fields were changed after they were signed."""
    first, second = sides()
    second.heard(first.hello())
    first.read(second.write())
    tokens = first.tokens()
    fields = first.fields(h=first.h_in, static=x25519_public(first.static), role_of_initiator=True)
    made = change(first, fields)
    return tokens + first.finish(made if isinstance(made, bytes) else encode_map("payload", made))


def signed_again(**changed: Any) -> Any:
    """Return a change that signs with another role, hash, static key or private key."""

    def change(side: Side, fields: dict[str, Any]) -> dict[str, Any]:
        role = changed.get("role", side.initiator)
        h, static = changed.get("h", side.h_in), changed.get("static", x25519_public(side.static))
        signed = handshake.identity_signed(initiator=role, h=h, static=static)
        return {**fields, "signature": identity.sign(changed.get("seed", side.seed), signed)}

    return change


def numbered(fields: dict[str, Any], **changed: Any) -> dict[int, Any]:
    """Return a payload as a map, with any values."""
    names = {"peer": 0, "signature": 1, "parameters": 2, "address": 4, "connection_id": 5}
    numbers = {names[name]: value for name, value in {**fields, **changed}.items() if value is not None}
    if isinstance(numbers.get(2), dict):
        numbers[2] = dict(enumerate(numbers[2].values()))
    return numbers


FAULTS: tuple[tuple[str, str, str, str, Any], ...] = (
    (
        "signature-changed",
        "E_HS_IDENTITY",
        "S-021",
        "a bit of the signature is turned over",
        lambda _, f: {**f, "signature": flip(f["signature"], 5)},
    ),
    (
        "other-peer-id",
        "E_HS_IDENTITY",
        "S-021",
        "the peer id of another key",
        lambda _, f: {**f, "peer": identity.peer_id(bytes(32))},
    ),
    ("other-signer", "E_HS_IDENTITY", "S-021", "signed by another key", signed_again(seed=bytes(32))),
    ("other-hash", "E_HS_IDENTITY", "S-021", "the signature of another handshake", signed_again(h=bytes(32))),
    (
        "other-static",
        "E_HS_IDENTITY",
        "S-021",
        "the signature covers another static key",
        signed_again(static=bytes(32)),
    ),
    (
        "small-order-peer",
        "E_HS_IDENTITY",
        "S-021 I-004",
        "a peer id of small order",
        lambda _, f: {**f, "peer": (1).to_bytes(32, "little")},
    ),
    (
        "peer-not-canonical",
        "E_HS_IDENTITY",
        "S-021 I-004",
        "a peer id that is not canonical",
        lambda _, f: {**f, "peer": b"\xff" * 32},
    ),
    (
        "no-signature",
        "E_SCHEMA",
        "S-020 C-020",
        "the signature is missing",
        lambda _, f: item(numbered(f, signature=None)),
    ),
    (
        "no-parameters",
        "E_SCHEMA",
        "S-020 C-020",
        "the parameters are missing",
        lambda _, f: item(numbered(f, parameters=None)),
    ),
    (
        "no-connection-id",
        "E_SCHEMA",
        "S-027 C-020",
        "the connection id is missing",
        lambda _, f: item(numbered(f, connection_id=None)),
    ),
    (
        "unknown-key",
        "E_SCHEMA",
        "C-021",
        "an unknown key below 64",
        lambda _, f: item({**numbered(f), 6: 0}),
    ),
    (
        "idle-out-of-range",
        "E_HS_PARAMS",
        "S-020",
        "an idle time-out of 999 ms",
        lambda _, f: item(numbered(f, parameters={**f["parameters"], "idle_timeout_ms": 999})),
    ),
    ("not-cbor", "E_CBOR", "C-002", "a payload that is no CBOR", lambda *_: b"\xff"),
    ("empty-payload", "E_CBOR", "C-002", "an empty payload", lambda *_: b""),
    (
        "payload-too-big",
        "E_TOO_BIG",
        "S-024",
        "a payload of more than 1,024 bytes",
        lambda _, f: item({**numbered(f), 64: bytes(900)}),
    ),
)
for _slug, _code, _rules, _why, _change in FAULTS:
    _refused_2(_slug, _code, _rules, _why, second_with(_change))
    _refused_3(_slug, _code, _rules, _why, third_with(_change))
_refused_2(
    "other-role",
    "E_HS_IDENTITY",
    "S-021",
    "signed in the role of the initiator",
    second_with(signed_again(role=True)),
)
_refused_3(
    "other-role",
    "E_HS_IDENTITY",
    "S-021",
    "signed in the role of the responder",
    third_with(signed_again(role=False)),
)
_refused_2("unexpected-peer", "E_HS_IDENTITY", "S-022", "another peer than expected", M2, expected=FIRST.peer)
_refused_2(
    "post-quantum-required",
    "E_HS_PQ_REQUIRED",
    "K-038",
    "the initiator requires what the responder does not offer",
    M2,
    a={**A, "post_quantum": 2},
)
_refused_3(
    "other-connection-id",
    "E_HS_PARAMS",
    "S-027",
    "another connection id than the source of the INIT",
    M3,
    source=B["connection_id"],
)
for _slug, _why, _at in (
    ("static-changed", "a bit of the sealed static key is turned over", 0),
    ("static-tag-changed", "a bit of the tag of the static key is turned over", 47),
    ("payload-changed", "a bit of the sealed payload is turned over", 48),
    ("tag-changed", "a bit of the last tag is turned over", -1),
):
    _refused_3(_slug, "E_HS_DECRYPT", "S-004 K-011", _why, flip(M3, _at))
for _slug, _why, _message in (
    ("empty", "no bytes", b""),
    ("cut", "the last byte is missing", M3[:-1]),
    ("message-2", "the responder's own message 2 comes back", M2),
):
    _refused_3(_slug, "E_HS_DECRYPT", "S-004 K-011", _why, _message)

FAMILIES = (hands,)

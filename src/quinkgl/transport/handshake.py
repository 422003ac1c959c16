"""The secure session's handshake: three Noise messages with an Ed25519 identity inside (spec chapter 5).

``Noise_XXpsk0+psk3_25519_AESGCM_SHA256``. Messages 2 and 3 carry the sender's identity key and its signature
over the handshake hash as it stands before the payload, the role and the sender's own static key; so an old
signature can be replayed into no other handshake, and version, swarm and mode are bound through the prologue.

A message that is not authentic leaves the handshake as it was, so that a forged answer does not end an honest
one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from quinkgl.crypto.identity import Identity, verify_untrusted
from quinkgl.crypto.keys import KeySource
from quinkgl.crypto.noise import HandshakeState, Start, start_of
from quinkgl.crypto.packet_keys import PacketKeys
from quinkgl.crypto.psk import Mode, SwarmKeys
from quinkgl.transport.stateless_reset import reset_token
from quinkgl.wire.addresses import Address, encode_address
from quinkgl.wire.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from quinkgl.wire.messages.session import (
    HandshakePayload,
    PostQuantum,
    TransportParameters,
    decode_handshake_payload_untrusted,
    encode_handshake_payload,
)

PATTERN = "XXpsk0+psk3"
EPHEMERAL_BYTES = 32
_INITIATOR_ROLE = b"\x00"
_RESPONDER_ROLE = b"\x01"


class Session(NamedTuple):
    """What a finished handshake leaves: keys for both directions and who is at the other end."""

    send_keys: PacketKeys
    receive_keys: PacketKeys
    handshake_hash: bytes
    peer_id: bytes
    remote_static: bytes
    remote_id: bytes
    """Connection id that our packets must bear."""
    parameters: TransportParameters
    record: bytes
    observed_address: Address | None
    mode: Mode
    """What the initiator wants of the session: its keys were those that fitted (spec K-007)."""
    swarm_id: bytes
    """The swarm whose keys they were."""
    version: int
    """The version of the protocol that both sides agreed on."""


@dataclass(frozen=True, slots=True)
class LocalParty:
    """Our side of every handshake of an endpoint under one swarm's keys."""

    identity: Identity
    keys: SwarmKeys
    static: X25519PrivateKey
    parameters: TransportParameters
    reset_key: bytes = b""
    """What tokens of stateless resets are made with; without it the handshake gives none."""
    packet_keys: type[PacketKeys] = PacketKeys
    """What protects the packets of its sessions."""
    static_public: bytes = field(init=False)
    """The X25519 static public key of this process."""
    _start: Start = field(init=False, repr=False)

    def parameters_for(self, connection_id: bytes) -> TransportParameters:
        """Return what the peer is told in a handshake that names one of our connection ids."""
        if not self.reset_key:
            return self.parameters
        return self.parameters.with_reset_token(reset_token(self.reset_key, connection_id))

    def noise(self, ephemeral: X25519PrivateKey, prologue_bytes: bytes, *, initiator: bool) -> HandshakeState:
        """Begin a handshake [S-001, S-002, K-003, K-012]."""
        return HandshakeState(
            PATTERN,
            initiator=initiator,
            prologue=prologue_bytes,
            static=self.static,
            psks=self._psks,
            ephemeral=ephemeral,
            start=self._start,
        )

    def __post_init__(self) -> None:
        """Compute what is the same in all handshakes, once."""
        object.__setattr__(self, "static_public", self.static.public_key().public_bytes_raw())
        object.__setattr__(self, "_start", start_of(PATTERN, self._psks))

    @property
    def _psks(self) -> tuple[bytes, bytes]:
        return self.keys.psk, self.keys.psk


def prologue(keys: SwarmKeys, version: int, versions: tuple[int, ...]) -> bytes:
    """What both sides must agree on before the first message (spec 5.3) [S-006]."""
    head = b"QGL1" + struct.pack(">I", version) + keys.swarm_id + bytes([keys.mode, len(versions)])
    return head + struct.pack(f">{len(versions)}I", *versions)


class Initiator:
    """The side that sends messages 1 and 3."""

    def __init__(self, party: LocalParty, source: KeySource, version: int, versions: tuple[int, ...]) -> None:
        self._party = party
        self.version = version
        self._state = party.noise(source.x25519(), prologue(party.keys, version, versions), initiator=True)
        self.message1 = self._state.write_tokens() + self._state.write_payload(b"")
        self.ephemeral_public = self.message1[:EPHEMERAL_BYTES]

    def finish_untrusted(
        self,
        message2: bytes,
        *,
        expected_peer: bytes | None,
        local_id: bytes,
        record: bytes,
        observed: Address,
    ) -> tuple[bytes, Session]:
        """Read message 2 and return message 3 with the session [S-021, S-022].

        Raises RemoteProtocolError: E_HS_DECRYPT for bytes that no holder of the PSK wrote, E_HS_IDENTITY for
        a signature that does not hold, a weak key, or a peer other than ``expected_peer``; codes of the
        payload.
        """
        state = self._state
        payload = _read_payload_untrusted(state, message2, _RESPONDER_ROLE)
        if expected_peer is not None and payload.peer_id != expected_peer:
            raise RemoteProtocolError(
                ErrorCode.E_HS_IDENTITY,
                f"peer {payload.peer_id.hex()} answered where {expected_peer.hex()} was expected",
                layer="transport",
                peer=payload.peer_id,
                section="5.5",
            )
        _check_post_quantum_untrusted(self._party, payload)
        message3 = _write_payload(state, self._party, _INITIATOR_ROLE, local_id, record, observed)
        send, receive = state.split()
        return message3, _session(self._party, self.version, state, payload, send, receive)


class Responder:
    """The side that reads message 1 and sends message 2."""

    def __init__(
        self,
        party: LocalParty,
        source: KeySource,
        version: int,
        versions: tuple[int, ...],
        message1: bytes,
        *,
        local_id: bytes,
        record: bytes,
        observed: Address,
    ) -> None:
        """Read message 1 and make message 2.

        RemoteProtocolError E_HS_DECRYPT when message 1 is not authentic.
        """
        self._party = party
        self._version = version
        self._state = party.noise(source.x25519(), prologue(party.keys, version, versions), initiator=False)
        if self._state.read_payload_untrusted(self._state.read_tokens_untrusted(message1)):
            raise RemoteProtocolError(
                ErrorCode.E_PROTOCOL, "message 1 has a payload", layer="transport", section="S-005"
            )
        self.message2 = _write_payload(self._state, party, _RESPONDER_ROLE, local_id, record, observed)

    def finish_untrusted(self, message3: bytes, *, remote_id: bytes) -> Session:
        """Read message 3 and return the session; ``remote_id`` is the source id of the INIT.

        Raises RemoteProtocolError as the initiator does for message 2, and E_HS_PARAMS for another id.
        """
        state = self._state
        payload = _read_payload_untrusted(state, message3, _INITIATOR_ROLE)
        if payload.connection_id != remote_id:
            raise RemoteProtocolError(
                ErrorCode.E_HS_PARAMS,
                "message 3 names another connection id",
                layer="transport",
                section="S-027",
            )
        _check_post_quantum_untrusted(self._party, payload)
        receive, send = state.split()
        return _session(self._party, self._version, state, payload, send, receive)


def _write_payload(
    state: HandshakeState,
    party: LocalParty,
    role: bytes,
    local_id: bytes,
    record: bytes,
    observed: Address,
) -> bytes:
    # S-020, S-028
    tokens = state.write_tokens()
    signed = role + state.handshake_hash + party.static_public
    payload = HandshakePayload(
        peer_id=party.identity.peer_id,
        signature=party.identity.sign("handshake", signed),
        parameters=party.parameters_for(local_id),
        connection_id=local_id,
        record=record,
        observed_address=_tellable(observed),
    )
    return tokens + state.write_payload(encode_handshake_payload(payload))


def _tellable(address: Address) -> Address | None:
    """Return the address if it means the same to another host, else None: a link-local one has a scope.

    A forged datagram may also claim to come from port 0, where nobody can be.
    """
    try:
        encode_address(address)
    except LocalProtocolError:
        return None
    return address


def _read_payload_untrusted(state: HandshakeState, message: bytes, role: bytes) -> HandshakePayload:
    # S-021
    rest = state.read_tokens_untrusted(message)
    signed = role + state.handshake_hash + (state.remote_static or b"")
    payload = decode_handshake_payload_untrusted(state.read_payload_untrusted(rest))
    verify_untrusted(payload.peer_id, "handshake", signed, payload.signature)
    return payload


def _check_post_quantum_untrusted(party: LocalParty, payload: HandshakePayload) -> None:
    """Refuse a session in which one side requires ML-KEM-768 and the other does not offer it (K-038)."""
    modes = party.parameters.pq, payload.parameters.pq
    if PostQuantum.REQUIRED in modes and PostQuantum.NO in modes:
        raise RemoteProtocolError(
            ErrorCode.E_HS_PQ_REQUIRED,
            "one side requires ML-KEM-768, the other does not offer it",
            layer="transport",
            peer=payload.peer_id,
            section="K-038",
        )


def _session(
    party: LocalParty,
    version: int,
    state: HandshakeState,
    payload: HandshakePayload,
    send: bytes,
    receive: bytes,
) -> Session:
    return Session(
        send_keys=party.packet_keys(send),
        receive_keys=party.packet_keys(receive),
        handshake_hash=state.handshake_hash,
        peer_id=payload.peer_id,
        remote_static=state.remote_static or b"",
        remote_id=payload.connection_id,
        parameters=payload.parameters,
        record=payload.record,
        observed_address=payload.observed_address,
        mode=party.keys.mode,
        swarm_id=party.keys.swarm_id,
        version=version,
    )

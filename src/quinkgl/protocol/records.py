"""Signed peer records: how one is issued, and what is checked before one is believed.

A record travels as the COSE_Sign1 that its peer made, byte for byte, through any number of hands; each node
that takes it checks it anew. Source: ``spec/10-membership.md``.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from quinkgl.crypto.cose import Sign1, decode_sign1_untrusted, sign1, verify_sign1_untrusted
from quinkgl.crypto.identity import Identity
from quinkgl.wire.addresses import Address
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import CONSTANTS, Limits
from quinkgl.wire.messages.membership import PeerRecord, decode_record_untrusted, encode_record

DOMAIN = "peer-record"


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record and the bytes that its peer signed, which are what is handed on."""

    record: PeerRecord
    encoded: bytes


@dataclass(frozen=True, slots=True)
class UnverifiedRecord:
    """A record that passed every check but the expensive one."""

    record: PeerRecord
    encoded: bytes
    envelope: Sign1

    def verify_untrusted(self) -> SignedRecord:
        """Check the signature; RemoteProtocolError E_REC_SIG, E_HS_IDENTITY for a key nobody may have."""
        verify_sign1_untrusted(self.envelope, DOMAIN, self.record.key, code=ErrorCode.E_REC_SIG)
        return SignedRecord(self.record, self.encoded)


def swarm_tag(root: bytes, key: bytes) -> bytes:
    """Return the 8 bytes that show a member, and nobody else, that a record belongs to its swarm [M-003].

    ``root`` is the swarm's root key, ``key`` the peer id in the record.
    """
    return hmac.digest(root, b"tag" + key, "sha256")[: CONSTANTS.swarm_tag_bytes]


def issue_record(
    identity: Identity, root: bytes, *, seq: int, addresses: tuple[Address, ...], ttl: int, unix_now: float
) -> SignedRecord:
    """Sign a record of one's own; LocalProtocolError for a field outside its bounds."""
    issued = int(unix_now)
    record = PeerRecord(
        key=identity.peer_id,
        seq=seq,
        issued=issued,
        ttl=ttl,
        swarm_tag=swarm_tag(root, identity.peer_id),
        addresses=addresses,
        period=issued // CONSTANTS.record_period_s,
    )
    return SignedRecord(record, sign1(identity, DOMAIN, encode_record(record)))


def expiry(record: PeerRecord, limits: Limits) -> float:
    """When a record ends here, in seconds since 1970: at its own time or at the node's limit [M-012]."""
    return record.issued + min(record.ttl, limits.record_ttl_s)


def check_record_untrusted(
    encoded: bytes, *, root: bytes, unix_now: float, limits: Limits
) -> UnverifiedRecord:
    """Check everything about a record but its signature, cheapest first.

    Raises RemoteProtocolError: what the decoders raise; E_SCHEMA for a period that is not that of ``issued``;
    E_REC_SCOPE for a record of another swarm; E_REC_EXPIRED for one that has ended or is issued later than
    now by more than the clocks may differ.
    """
    envelope = decode_sign1_untrusted(encoded, max_bytes=limits.record_bytes, where="peer record")
    record = decode_record_untrusted(envelope.payload)
    if not hmac.compare_digest(record.swarm_tag, swarm_tag(root, record.key)):
        raise _fault(ErrorCode.E_REC_SCOPE, "a peer record of another swarm", record, "M-010")
    if record.period != record.issued // CONSTANTS.record_period_s:
        raise _fault(
            ErrorCode.E_SCHEMA, "a peer record whose period is not that of its issue", record, "M-004"
        )
    if unix_now >= expiry(record, limits):
        raise _fault(ErrorCode.E_REC_EXPIRED, "a peer record that has ended", record, "M-012")
    if record.issued > unix_now + limits.clock_skew_s:
        raise _fault(ErrorCode.E_REC_EXPIRED, "a peer record from the future", record, "M-013")
    return UnverifiedRecord(record, encoded, envelope)


def _fault(code: ErrorCode, message: str, record: PeerRecord, section: str) -> RemoteProtocolError:
    return RemoteProtocolError(code, message, layer="protocol", peer=record.key, section=section)

"""Operations of the families of a swarm: manifest, its fetch, keys, mac1."""

from __future__ import annotations

import hashlib

from quinkgl.crypto import mac
from quinkgl.crypto.psk import derive_fetch_keys, derive_member_keys, derive_service_keys, domain_label
from quinkgl.manifest import SwarmManifest, verify_manifest
from quinkgl.manifest.canonical import canonical_json, parse_json_untrusted
from quinkgl.manifest.signing import with_signature
from quinkgl.protocol.manifest_fetch import (
    FetchOver,
    ManifestFetch,
    ManifestFetched,
    ManifestNotFetched,
    ManifestServed,
    ManifestSource,
)
from quinkgl.testing.vectors.ours import Fields, Refused, operation
from quinkgl.wire.limits import CONSTANTS
from quinkgl.wire.messages.fetch import Piece, encode_fetch_message

_MEMBER, _FETCH, _SERVICE = 1, 2, 3
_MACS = slice(21, 53)


@operation("manifest", "canonical")
def canonical(given: Fields) -> tuple[Fields, Fields]:
    """Write a JSON value in canonical form."""
    data = canonical_json(parse_json_untrusted(given["json"].encode()))
    return {}, {"bytes": data, "sha256": hashlib.sha256(data).digest()}


@operation("manifest", "hash")
def check_hash(given: Fields) -> tuple[Fields, Fields]:
    """Fetch bytes that are to be those of a swarm."""
    data = bytes.fromhex(given["bytes"])
    machine = ManifestFetch(bytes.fromhex(given["swarm_id"]), now=0.0)
    machine.next_message(0.0)
    if not data:  # no piece can carry them; the bytes of no manifest
        raise Refused("E_MAN_HASH")
    machine.receive_message(encode_fetch_message(Piece(0, len(data), data, None)), now=0.0)
    event = machine.next_event()
    if isinstance(event, ManifestNotFetched):
        raise Refused(event.code.name)
    return {}, {"accepted": isinstance(event, ManifestFetched)}


@operation("manifest", "signature")
def check_signature(given: Fields) -> tuple[Fields, Fields]:
    """Load a manifest and verify the signature that came beside it."""
    data = bytes.fromhex(given["bytes"])
    loaded = with_signature(SwarmManifest.from_json(data), bytes.fromhex(given["signature"]))
    if not verify_manifest(loaded) or loaded.creator_pubkey is None:
        raise Refused("E_MAN_SIG")
    return {}, {"creator": loaded.creator_pubkey.removeprefix("ed25519:"), "swarm_id": loaded.swarm_id}


@operation("manifest-fetch", "fetch")
def fetch(given: Fields) -> tuple[Fields, Fields]:
    """Fetch a manifest from a source that says these messages."""
    machine = ManifestFetch(bytes.fromhex(given["swarm_id"]), now=0.0)
    sent = [machine.next_message(0.0)]
    for message in given["messages"]:
        machine.receive_message(bytes.fromhex(message), now=0.0)
        sent.append(machine.next_message(0.0))
    event = machine.next_event()
    if isinstance(event, ManifestNotFetched):
        raise Refused(event.code.name)
    if event is None:
        raise Refused("none")
    return {"sent": [each for each in sent if each is not None]}, {
        "manifest": event.manifest,
        "signature": event.signature,
    }


@operation("manifest-fetch", "serve")
def serve(given: Fields) -> tuple[Fields, Fields]:
    """Serve a manifest to a fetcher that says these messages."""
    manifest = bytes.fromhex(given["manifest"])
    signature = None if given["signature"] is None else bytes.fromhex(given["signature"])
    machine = ManifestSource(hashlib.sha256(manifest).digest(), manifest, signature, now=0.0)
    answers, over = [], False
    for message in given["messages"]:
        machine.receive_message(bytes.fromhex(message), now=0.0)
        answers.append(machine.next_message(0.0))
        event = machine.next_event()
        if isinstance(event, FetchOver):
            raise Refused(event.code.name)
        over = over or isinstance(event, ManifestServed)
    return {}, {"answers": [each for each in answers if each is not None], "over": over}


@operation("psk-mac", "derive")
def derive(given: Fields) -> tuple[Fields, Fields]:
    """Derive the keys of a mode."""
    known, secret = bytes.fromhex(given["known"]), bytes.fromhex(given["join_secret"])
    if given["mode"] == _MEMBER:
        keys = derive_member_keys(known, secret)
        ikm = hashlib.sha256(domain_label("possession") + b"\x00" + known).digest() + secret
    elif given["mode"] == _FETCH:
        keys, ikm = derive_fetch_keys(known, secret), domain_label("fetch") + secret
    elif given["mode"] == _SERVICE:
        keys, ikm = derive_service_keys(known), known
    else:
        raise ValueError(f"no mode {given['mode']}")
    return {"ikm": ikm, "root": keys.root}, {
        "swarm_id": keys.swarm_id,
        "psk": keys.psk,
        "mac1_key": keys.mac1_key,
    }


@operation("psk-mac", "mac1")
def mac1(given: Fields) -> tuple[Fields, Fields]:
    """Compute mac1."""
    data = bytes.fromhex(given["datagram"])
    return {}, {"mac1": mac.mac1(bytes.fromhex(given["mac1_key"]), data[: _MACS.start], data[_MACS.stop :])}


@operation("psk-mac", "check")
def check_mac1(given: Fields) -> tuple[Fields, Fields]:
    """Check mac1."""
    data = bytes.fromhex(given["datagram"])
    tag = data[_MACS.start : _MACS.start + CONSTANTS.mac1_bytes]
    rest = data[: _MACS.start] + data[_MACS.stop :]
    if not mac.verify(bytes.fromhex(given["mac1_key"]), tag, rest):
        raise Refused("E_MAC1")
    return {}, {"mac1": tag, "rest_sha256": hashlib.sha256(rest).digest()}

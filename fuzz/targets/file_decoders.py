"""Decoders of what people and disks hold: tensors, checkpoints, key logs, links, manifests, tickets."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from fuzz.files import memory_folder
from fuzz.harness import Target
from fuzz.mutators import INTERESTING, mutate_bytes, mutate_cbor
from fuzz.oracles import Bound, Finding, attempt, check_equal, metered
from quinkgl.core.weights import signature
from quinkgl.crypto.identity import Identity
from quinkgl.manifest import (
    ErrorName,
    MagnetLink,
    ManifestError,
    SwarmManifest,
    load_manifest_file,
    read_fetched_manifest,
)
from quinkgl.manifest.canonical import canonical_json
from quinkgl.manifest.signing import sign_manifest, signature_bytes
from quinkgl.serialization import decode_tensors_untrusted, encode_tensors
from quinkgl.storage.checkpoint import Checkpoint, CheckpointError, decode_checkpoint, encode_checkpoint
from quinkgl.testing.swarms import small_manifest
from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.key_log import KeyLogEntry, format_key_log, parse_key_log
from quinkgl_trio.transfer_ticket import Holder, Ticket, safe_name

_KEY = bytes(range(32))

# --- tensors ---

_TENSORS = Bound(calls=600, calls_per_byte=12, memory=60_000, memory_per_byte=400)


def run_tensors(data: bytes) -> None:
    """What is accepted is the only encoding of those arrays; NaN is refused unless it is allowed."""
    arrays = attempt(
        decode_tensors_untrusted, data, expected=None, max_bytes=4096, allow_nonfinite=True, bound=_TENSORS
    )
    finite = attempt(decode_tensors_untrusted, data, expected=None, max_bytes=4096, bound=_TENSORS)
    if arrays is None:
        if finite is not None:
            raise Finding("what may hold no NaN is taken, and refused where it may")
        return
    is_finite = all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
    check_equal(finite is not None, is_finite, "whether finite values are taken")
    if encode_tensors(arrays) != data:
        raise Finding("these arrays have a second encoding")
    expected = signature(arrays)
    if (
        decode_tensors_untrusted(data, expected=expected, max_bytes=4096, allow_nonfinite=True).keys()
        != arrays.keys()
    ):
        raise Finding("other arrays when they are expected")
    if any(array.flags.writeable for array in arrays.values()):
        raise Finding("an array that can be written")


def tensor_seeds() -> Iterable[bytes]:
    """Each dtype, no tensor, empty ones, scalars."""
    yield encode_tensors({})
    yield encode_tensors({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0, np.float64)})
    kinds = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")
    yield encode_tensors({kind: np.ones((), kind) for kind in kinds})
    yield encode_tensors({"nan": np.array([np.nan, np.inf]), "é": np.ones((1, 0, 3), np.int64)})


def mutate_tensors(data: bytes, rng: random.Random) -> bytes:
    """Change a number of the table where one is likely to be, or any bytes."""
    changed = bytearray(data)
    match rng.randrange(4):
        case 0 if len(changed) >= 16:
            struct.pack_into("<I", changed, rng.choice((4, 8, 12)), rng.choice(INTERESTING) & 0xFFFFFFFF)
        case 1 if len(changed) >= 40:
            at = rng.randrange(16, min(len(changed) - 8, 120))
            struct.pack_into("<Q", changed, at, rng.choice(INTERESTING))
        case 2:
            changed += bytes(rng.choice((1, 63, 64)))
        case _:
            return mutate_bytes(data, rng)
    return bytes(changed)


# --- checkpoints ---

_HEAD = struct.Struct(">8sIQQ")
_CHECKPOINT = Bound(calls=1500, calls_per_byte=30, memory=200_000, memory_per_byte=2000)


def run_checkpoint(data: bytes) -> None:
    """A checkpoint that is accepted is saved again; anything else is a CheckpointError."""
    try:
        checkpoint = metered(_CHECKPOINT, len(data), decode_checkpoint, data)
    except CheckpointError as error:
        if len(str(error)) > 2000:
            raise Finding(f"an error of {len(str(error))} characters") from error
        return
    if type(checkpoint.round) is not int or not isinstance(checkpoint.state, dict):
        raise Finding(f"a checkpoint of round {checkpoint.round!r} with a {type(checkpoint.state).__name__}")
    decode_checkpoint(encode_checkpoint(checkpoint))


def checkpoint_seeds() -> Iterable[bytes]:
    """States of all kinds of values."""
    arrays = {"weights": {"w": np.arange(4, dtype=np.float32)}, "rng": np.arange(3, dtype=np.uint64)}
    plain = {
        "list": [1, 2.5, None, True],
        "tuple": (1, "x", b"y"),
        7: -(1 << 70),
        "inner": {"a": {"b": [(), []]}},
    }
    for state in ({}, plain, arrays, {**plain, **arrays}):
        yield encode_checkpoint(Checkpoint(3, state))


def seal_checkpoint(document: bytes, tensors: bytes) -> bytes:
    """Return a checkpoint of these parts, its lengths and its checksum right."""
    content = _HEAD.pack(b"QGLCKPT\n", 1, len(document), len(tensors)) + document + tensors
    return content + hashlib.sha256(content).digest()


_FOREIGN = (
    b"\xd8\x1c", b"\xd8\x1d\x00", b"\xc2\x41\x01", b"\xc4\x82\x01\x02",
    b"\xd8\x1e\x82\x01\x00", b"\xd8\x23\x61(",
    b"\xc0\x61x", b"\xc1\xfb\x7f\xf0" + bytes(6), b"\xd9\x01\x02\x81\x80", b"\x81\x80", b"\xa1\x80\x00",
    b"\x82elist\x00", b"\xf6", b"\xfb" + bytes(8), b"\x9f\xff",
    b"\xd8\x25\x40", b"\xd9\x01\x04\x44\x01\x02\x03\x04",
)  # fmt: skip
"""Items of CBOR that a checkpoint has no use for."""


def mutate_checkpoint(data: bytes, rng: random.Random) -> bytes:
    """Change the document or the tensors and mend the lengths and the checksum, or change any bytes."""
    if len(data) < _HEAD.size + 32 or rng.random() < 0.1:
        return mutate_bytes(data, rng)
    _, _, document_bytes, _ = _HEAD.unpack_from(data)
    document = data[_HEAD.size : _HEAD.size + document_bytes]
    tensors = data[_HEAD.size + document_bytes : -32]
    kind = rng.randrange(4)
    if kind == 0:
        tensors = mutate_tensors(tensors, rng)
    elif kind == 1:
        document = mutate_bytes(document, rng)
    else:
        at = rng.randrange(len(document) + 1)
        document = document[:at] + rng.choice(_FOREIGN) + document[at + rng.randrange(2) :]
    return seal_checkpoint(document, tensors)


# --- key logs ---


def run_key_log(data: bytes) -> None:
    """A line that is accepted means what it says again; anything else is a LocalProtocolError."""
    line = data.decode("utf-8", "replace")
    try:
        entry = metered(Bound(), len(data), parse_key_log, line)
    except LocalProtocolError as error:
        check_equal(error.code, ErrorCode.E_USAGE, "the code")
        return
    if entry is not None:
        check_equal(parse_key_log(format_key_log(entry)), entry, "a line of a key log")


def key_log_seeds() -> Iterable[bytes]:
    """A line, a comment, another label."""
    yield format_key_log(KeyLogEntry(_KEY, _KEY[:8], 0, 0, _KEY)).encode()
    yield format_key_log(KeyLogEntry(_KEY, _KEY[:8], 3, (1 << 64) - 1, _KEY)).encode()
    yield b"# comment"
    yield b"CLIENT_RANDOM 00 00"


# --- magnet links ---


def run_magnet(data: bytes) -> None:
    """A link that is accepted is written in a way that means the same; anything else is a ManifestError."""
    try:
        link = metered(Bound(calls_per_byte=30), len(data), MagnetLink.parse, data.decode("utf-8", "replace"))
    except ManifestError as error:
        str(error)
        return
    if "\x00" in str(link) or " " in str(link):
        raise Finding(f"a link with a space: {str(link)!r}")
    again = MagnetLink.parse(str(link))
    if again.swarm_id != link.swarm_id or again.protocol_version != link.protocol_version:
        raise Finding(f"{link} is another link when it is read again")
    check_equal(again.bootstrap_peers, link.bootstrap_peers, "where to begin")
    check_equal(again.keywords, link.keywords, "keywords")


def magnet_seeds() -> Iterable[bytes]:
    """Short and with everything."""
    yield f"quinkgl:?xt=urn:qgl:{_KEY.hex()}".encode()
    yield (
        f"quinkgl:?xt=urn:qgl:{_KEY.hex()}&dn=a%20name&kw=a,b,c&v=2&tr=http%3A%2F%2Fexample.org&bs=192.0.2.1:1&bs=x&zz=1"
    ).encode()


# --- manifests ---

_MANIFEST = Bound(calls=4000, calls_per_byte=30, memory=1_400_000, memory_per_byte=200)
"""A file is read into a buffer of the largest size that one may have."""
_CREATOR = Identity.from_seed(b"\x05" * 32)


def run_manifest(data: bytes) -> None:
    """A manifest that is accepted is the same when it is written and read again; else a ManifestError."""
    path = memory_folder() / "manifest.qgl"
    path.write_bytes(data)
    try:
        manifest = metered(
            _MANIFEST, len(data), load_manifest_file, path, check_signature=False, unix_now=1_800_000_000.0
        )
    except ManifestError as error:
        _check_refusal(error)
        return
    canonical = manifest.canonical_bytes()
    for layout in (True, False):
        again = SwarmManifest.from_json(manifest.to_json(pretty=layout))
        if again != manifest or again.swarm_id != manifest.swarm_id:
            raise Finding("a manifest that is another one when it is read again")
    try:
        fetched = read_fetched_manifest(
            canonical, signature_bytes(manifest), expected_swarm_id=manifest.swarm_id
        )
    except ManifestError as error:
        check_equal(error.code, ErrorName.ERR_SIGNATURE_INVALID, "why a fetched manifest is refused")
        return
    check_equal(fetched, manifest, "a manifest that was fetched")


def _check_refusal(error: ManifestError) -> None:
    if not isinstance(error.code, ErrorName) or len(str(error)) > 4000:
        raise Finding(f"a refusal of {len(str(error))} characters with the code {error.code!r}") from error


def manifest_seeds() -> Iterable[bytes]:
    """The smallest, one with everything, a signed one."""
    small = small_manifest()
    yield small.to_json(pretty=False)
    yield small_manifest(
        "everything",
        description="é and 😀",
        expires_at="2999-01-01T00:00:00Z",
        round_limit=10,
        tracker_urls=(("https://example.org/a", "udp://example.org:1"),),
    ).to_json(pretty=False)
    yield sign_manifest(small, _CREATOR.to_pem()).to_json(pretty=False)


def mutate_manifest(data: bytes, rng: random.Random) -> bytes:
    """Change one node of the JSON tree, or the text."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(data, rng)
    if rng.random() < 0.25:
        return mutate_bytes(data, rng)
    tree = _mutate_json(tree, rng)
    try:
        return canonical_json(tree) if rng.random() < 0.8 else json.dumps(tree, indent=1).encode()
    except ValueError:
        return json.dumps(tree).encode()


_JSON: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 1e308, 10**40, "", "a", "é", "\x00", "e\u0301", "😀", [], {}, [[]], 3,
    "2026-01-01T00:00:00Z", "ed25519:" + "0" * 64, float("inf"), "FedAvg", "Krum",
)  # fmt: skip


def _mutate_json(tree: Any, rng: random.Random) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key = rng.choice(list(tree))
        kind = rng.randrange(8)
        if kind == 0:
            return {name: item for name, item in tree.items() if name != key}
        if kind == 1:
            return {**tree, rng.choice(("extra", "", "name", "é")): rng.choice(_JSON)}
        return {**tree, key: _mutate_json(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        at = rng.randrange(len(tree))
        return [*tree[:at], _mutate_json(tree[at], rng), *tree[at + rng.randrange(2) :]]
    if isinstance(tree, str) and rng.random() < 0.3:
        return tree + rng.choice(("x", "é", "\x00", "x" * 300))
    if type(tree) in (int, float) and rng.random() < 0.5:
        return rng.choice((tree + 1, tree - 1, float(tree), -tree, rng.choice(INTERESTING)))
    return rng.choice(_JSON)


# --- tickets ---


def run_ticket(data: bytes) -> None:
    """A ticket that is accepted means the same again, else a ValueError. No name leaves its folder."""
    text = data.decode("utf-8", "replace")
    name = safe_name(text)
    if not name or "/" in name or "\\" in name or name.startswith(".") or len(name.encode()) > 255:
        raise Finding(f"{name!r} is not the name of a file in this folder")
    try:
        ticket = metered(Bound(), len(data), Ticket.parse, text)
    except ValueError as error:
        if isinstance(error, UnicodeError):
            raise
        return
    check_equal(Ticket.parse(str(ticket)), ticket, "a ticket")
    ticket.keys()
    ticket.addresses


def seal_ticket(body: bytes) -> bytes:
    """Return the token of a body."""
    check = hashlib.sha256(body).digest()[:4]
    return b"qgs1" + base64.b32encode(body + check).rstrip(b"=").lower()


def ticket_seeds() -> Iterable[bytes]:
    """Without holders and with two."""
    plain = Ticket(_KEY[:16], _KEY, 1000, "model.npz")
    yield str(plain).encode()
    holder = Holder(_KEY, (("192.0.2.1", 4000), ("2001:db8::1", 1)))
    yield str(plain.with_holder(holder)).encode()
    yield "../../etc/passwd\u202e.npz".encode()


def mutate_ticket(data: bytes, rng: random.Random) -> bytes:
    """Change the body and mend the check, or change the token."""
    text = data.removeprefix(b"qgs1").upper()
    try:
        body = base64.b32decode(text + b"=" * (-len(text) % 8))[:-4]
    except ValueError:
        return mutate_bytes(data, rng)
    return seal_ticket(mutate_cbor(body, rng)) if rng.random() < 0.8 else mutate_bytes(data, rng)


TARGETS = (
    Target(name="tensors", about="tables of tensors", run=run_tensors, seeds=tensor_seeds,
           mutate=mutate_tensors, max_bytes=1024),
    Target(name="checkpoint", about="checkpoint files", run=run_checkpoint, seeds=checkpoint_seeds,
           mutate=mutate_checkpoint, max_bytes=1024),
    Target(name="key_log", about="lines of key logs", run=run_key_log, seeds=key_log_seeds, max_bytes=256),
    Target(name="magnet", about="magnet links", run=run_magnet, seeds=magnet_seeds, max_bytes=512),
    Target(name="manifest_loader", about="manifest files", run=run_manifest, seeds=manifest_seeds,
           mutate=mutate_manifest, max_bytes=4096, short_runs=5_000),
    Target(name="ticket", about="tickets of a file transfer, and names of files", run=run_ticket,
           seeds=ticket_seeds, mutate=mutate_ticket, max_bytes=1024),
)  # fmt: skip

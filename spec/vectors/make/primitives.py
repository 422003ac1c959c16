"""Edge cases of the primitives as this protocol uses them: Ed25519, X25519, AES-256-GCM, HKDF."""

from __future__ import annotations

import hashlib

from ref import SpecError, identity
from ref import primitives as ref

from .family import BOOL, HEX, NUM, Family, Json, record
from .raw import flip, pattern

P = 2**255 - 19
L = identity.ORDER
IDENTITY_POINT = (1).to_bytes(32, "little")

ed25519 = Family(
    "ed25519",
    "Ed25519 keys and signatures as chapter 2 takes them: canonical keys, no small order, no cofactor, S "
    "below L.",
    "`sign`: compute the peer id of the private key and its signature of the bytes. `verify`: check the "
    "peer id (I-001 to I-003), then the "
    "signature of the bytes without multiplying by the cofactor. The message is signed as it stands, "
    "without a label.",
)


@ed25519.op(
    "sign",
    "the signature of bytes by a private key",
    takes=record(seed=HEX, message=HEX),
    gives=record(peer_id=HEX, signature=HEX),
)
def _sign(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seed, message = bytes.fromhex(given["seed"]), bytes.fromhex(given["message"])
    return {}, {"peer_id": identity.peer_id(seed), "signature": identity.sign(seed, message)}


@ed25519.op(
    "verify",
    "whether a signature of bytes verifies under a peer id",
    takes=record(peer_id=HEX, message=HEX, signature=HEX),
    gives=record(accepted=BOOL),
)
def _verify(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    peer, message, signature = (bytes.fromhex(given[name]) for name in ("peer_id", "message", "signature"))
    identity.check_peer_id(peer)
    if not identity.verifies(peer, signature, message):
        raise SpecError("E_HS_IDENTITY", "a signature that does not verify")
    return {}, {"accepted": True}


SEED = bytes([7]) * 32
PEER = identity.peer_id(SEED)
MESSAGE = b"message"
SIGNATURE = identity.sign(SEED, MESSAGE)


def scalar(seed: bytes) -> int:
    """Return the private scalar of RFC 8032, section 5.1.5."""
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return int.from_bytes(digest, "little")


def challenge(r: bytes, peer: bytes, message: bytes) -> int:
    """Return k of RFC 8032, section 5.1.7."""
    return int.from_bytes(hashlib.sha512(r + peer + message).digest(), "little") % L


def plus_order_two(point: bytes) -> bytes:
    """Return the encoding of a point plus the point of order 2, which turns (x, y) into (-x, -y)."""
    number = int.from_bytes(point, "little")
    y, odd = number % 2**255, number >> 255
    return ((1 - odd) << 255 | (P - y)).to_bytes(32, "little")


def with_r(r: bytes, peer: bytes, message: bytes) -> bytes:
    """Return the signature whose R encodes the neutral element: S is k times the private scalar."""
    return r + (challenge(r, peer, message) * scalar(SEED) % L).to_bytes(32, "little")


def message_where_k_is(parity: int, r: bytes, peer: bytes) -> bytes:
    """Return a message under which k is even or odd."""
    return next(
        text for text in (b"message %d" % n for n in range(64)) if challenge(r, peer, text) % 2 == parity
    )


for _slug, _seed, _message in (
    ("sign-message", SEED, MESSAGE),
    ("sign-nothing", SEED, b""),
    ("sign-a-byte", bytes(range(32)), b"\x00"),
    ("sign-a-block", bytes([255]) * 32, pattern(128)),
    ("sign-a-kilobyte", bytes(32), pattern(1023)),
):
    ed25519.valid(_slug, "sign", "I-006", seed=_seed, message=_message)
for _slug, _seed, _message in (
    ("verify-message", SEED, MESSAGE),
    ("verify-nothing", bytes([1]) * 32, b""),
    ("verify-a-kilobyte", bytes([2]) * 32, pattern(1023)),
):
    ed25519.valid(
        _slug,
        "verify",
        "I-005",
        peer_id=identity.peer_id(_seed),
        message=_message,
        signature=identity.sign(_seed, _message),
    )
ed25519.valid(
    "verify-r-neutral",
    "verify",
    "I-005",
    "R is the neutral element in its one canonical form: nothing forbids it",
    ["SmallOrderR"],
    peer_id=PEER,
    message=MESSAGE,
    signature=with_r(IDENTITY_POINT, PEER, MESSAGE),
)
MIXED = plus_order_two(PEER)


def _by_mixed_key(parity: int) -> dict[str, bytes]:
    """Sign by a key with a component of order 2, so that only the parity of k decides."""
    message = message_where_k_is(parity, IDENTITY_POINT, MIXED)
    s = challenge(IDENTITY_POINT, MIXED, message) * scalar(SEED) % L
    return {"peer_id": MIXED, "message": message, "signature": IDENTITY_POINT + s.to_bytes(32, "little")}


ed25519.valid(
    "verify-mixed-order-key-even-k",
    "verify",
    "I-003 I-005",
    "k is even, so the component of order 2 vanishes",
    ["MixedOrderKey"],
    **_by_mixed_key(0),
)
ed25519.invalid(
    "verify-mixed-order-key-odd-k",
    "verify",
    "E_HS_IDENTITY",
    "I-005",
    "verifies only where both sides are multiplied by the cofactor",
    ["MixedOrderKey", "Cofactor"],
    **_by_mixed_key(1),
)

S = int.from_bytes(SIGNATURE[32:], "little")
for _slug, _why, _flags, _signature in (
    ("verify-no-signature", "a signature has 64 bytes", ("Length",), b""),
    ("verify-r-alone", "a signature has 64 bytes", ("Length",), SIGNATURE[:32]),
    ("verify-63-bytes", "a signature has 64 bytes", ("Length",), SIGNATURE[:63]),
    ("verify-65-bytes", "a signature has 64 bytes", ("Length",), SIGNATURE + b"\0"),
    (
        "verify-s-plus-l",
        "S is L too large, and would verify modulo L",
        ("Malleable",),
        SIGNATURE[:32] + (S + L).to_bytes(32, "little"),
    ),
    (
        "verify-s-plus-8-l",
        "S is 8 L too large, and would verify modulo L",
        ("Malleable",),
        SIGNATURE[:32] + (S + 8 * L).to_bytes(32, "little"),
    ),
    ("verify-s-is-l", "S is L", ("Malleable",), SIGNATURE[:32] + L.to_bytes(32, "little")),
    ("verify-s-largest", "S is 2^256 - 1", ("Malleable",), SIGNATURE[:32] + b"\xff" * 32),
    ("verify-s-zero", "S is 0 and R is not chosen for it", (), SIGNATURE[:32] + bytes(32)),
    ("verify-s-negated", "S is L - S", (), SIGNATURE[:32] + (L - S).to_bytes(32, "little")),
    ("verify-r-changed", "one bit of R is turned over", (), flip(SIGNATURE, 0)),
    ("verify-s-changed", "one bit of S is turned over", (), flip(SIGNATURE, 32)),
    ("verify-r-sign-changed", "the sign bit of R is turned over", (), flip(SIGNATURE, 31, 0x80)),
    ("verify-all-zero", "R and S are zero", (), bytes(64)),
    (
        "verify-r-plus-order-2",
        "R has a component of order 2; only the cofactor hides it",
        ("Cofactor",),
        plus_order_two(SIGNATURE[:32]) + SIGNATURE[32:],
    ),
    (
        "verify-r-neutral-with-sign",
        "R encodes the neutral element with the sign bit set: not the canonical bytes",
        ("NonCanonicalR",),
        with_r(flip(IDENTITY_POINT, 31, 0x80), PEER, MESSAGE),
    ),
    (
        "verify-r-neutral-plus-p",
        "R encodes the neutral element by y = p + 1: not the canonical bytes",
        ("NonCanonicalR",),
        with_r((P + 1).to_bytes(32, "little"), PEER, MESSAGE),
    ),
):
    ed25519.invalid(
        _slug,
        "verify",
        "E_HS_IDENTITY",
        "I-005",
        _why,
        _flags,
        peer_id=PEER,
        message=MESSAGE,
        signature=_signature,
    )
ed25519.invalid(
    "verify-other-message",
    "verify",
    "E_HS_IDENTITY",
    "I-005",
    "the signature is of another message",
    peer_id=PEER,
    message=b"messagf",
    signature=SIGNATURE,
)
ed25519.invalid(
    "verify-other-key",
    "verify",
    "E_HS_IDENTITY",
    "I-005",
    "the signature is another key's",
    peer_id=identity.peer_id(bytes(32)),
    message=MESSAGE,
    signature=SIGNATURE,
)
ed25519.invalid(
    "verify-key-off-the-curve",
    "verify",
    "E_HS_IDENTITY",
    "I-005",
    "y = 2 belongs to no point of the curve",
    ["OffCurve"],
    peer_id=(2).to_bytes(32, "little"),
    message=MESSAGE,
    signature=SIGNATURE,
)
FORGED = IDENTITY_POINT + bytes(32)
for _index, _y in enumerate(sorted(identity.SMALL_ORDER)):
    for _sign_bit in (0, 0x80):
        ed25519.invalid(
            f"verify-small-order-{_index}{'-sign' if _sign_bit else ''}",
            "verify",
            "E_HS_IDENTITY",
            "I-003 I-004",
            "a key of small order, with a signature that verifies for some or all messages under it",
            ["SmallOrderKey"],
            peer_id=flip(_y, 31, _sign_bit),
            message=MESSAGE,
            signature=FORGED,
        )

x25519 = Family(
    "x25519",
    "X25519 as the exchanges of new secrets use it (chapter 5a.7).",
    "Compute the public key of `private` and the shared secret of `private` and `public`. RFC 7748 says "
    "how: bit 255 of `public` is masked, "
    "a value of p or more is reduced, the private key is clamped. A result of 32 zero bytes is refused.",
)


@x25519.op(
    "agree",
    "private key and the other side's public key to the shared secret",
    takes=record(private=HEX, public=HEX),
    gives=record(public=HEX, secret=HEX),
)
def _agree(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    private, public = bytes.fromhex(given["private"]), bytes.fromhex(given["public"])
    if len(public) != 32:
        raise SpecError("E_SCHEMA", "a public key of another length")
    try:
        secret = ref.x25519(private, public)
    except SpecError:
        raise SpecError("E_SCHEMA", "a Diffie-Hellman result of zero") from None
    return {}, {"public": ref.x25519_public(private), "secret": secret}


OURS, THEIRS = bytes([0x55]) * 32, ref.x25519_public(bytes([0x66]) * 32)
for _slug, _comment, _flags, _private, _public in (
    ("ordinary", "", (), OURS, THEIRS),
    ("other-side", "the secret is that of the case before", (), bytes([0x66]) * 32, ref.x25519_public(OURS)),
    ("base-point", "the secret is the public key", (), OURS, (9).to_bytes(32, "little")),
    (
        "bit-255-set",
        "the highest bit is masked: the secret is that of the first case",
        ("HighBit",),
        OURS,
        flip(THEIRS, 31, 0x80),
    ),
    (
        "private-unclamped",
        "bits that clamping sets or clears make no difference",
        ("Clamping",),
        flip(flip(OURS, 0, 7), 31, 0x80),
        THEIRS,
    ),
    ("not-reduced-9", "u = p + 9 is read as 9", ("NonCanonical",), OURS, (P + 9).to_bytes(32, "little")),
    (
        "not-reduced-largest",
        "u = 2^255 - 1 is read as 18",
        ("NonCanonical",),
        OURS,
        (2**255 - 1).to_bytes(32, "little"),
    ),
    ("on-the-twist", "u = 2 lies on the twist, and is taken", ("Twist",), OURS, (2).to_bytes(32, "little")),
    ("private-zero", "clamping makes it 2^254", ("Clamping",), bytes(32), THEIRS),
):
    x25519.valid(_slug, "agree", "K-030 K-032", _comment, _flags, private=_private, public=_public)
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
for _slug, _why, _u in (
    ("u-0", "u = 0 has order 2", 0),
    ("u-1", "u = 1 has order 4", 1),
    ("u-order-8-first", "a point of order 8", ORDER_8[0]),
    ("u-order-8-second", "a point of order 8", ORDER_8[1]),
    ("u-minus-1", "u = p - 1 has order 4, on the twist", P - 1),
    ("u-p", "u = p is read as 0", P),
    ("u-p-plus-1", "u = p + 1 is read as 1", P + 1),
):
    for _high in (0, 1):
        x25519.invalid(
            f"{_slug}{'-bit-255' if _high else ''}",
            "agree",
            "E_SCHEMA",
            "K-032",
            f"{_why}: the secret would be zero",
            ["SmallOrder"] + ["HighBit"] * _high,
            private=OURS,
            public=(_u | _high << 255).to_bytes(32, "little"),
        )
for _slug, _public in (("nothing", b""), ("31-bytes", THEIRS[:31]), ("33-bytes", THEIRS + b"\0")):
    x25519.invalid(
        _slug,
        "agree",
        "E_SCHEMA",
        "K-032",
        "a public key has 32 bytes",
        ["Length"],
        private=OURS,
        public=_public,
    )

gcm = Family(
    "aes-gcm",
    "AES-256-GCM as short packets use it: nonces from packet numbers, the header as associated data, whole "
    "tags.",
    "`seal`: encrypt `plaintext` under `key`; the nonce is 4 zero bytes and `number` as 8 bytes, "
    "big-endian. `open`: decrypt `sealed`, which "
    "ends with its tag of 16 bytes. What is not authentic is dropped.",
)
_GCM_MID = record(nonce=HEX)


@gcm.op(
    "seal",
    "plaintext to ciphertext and tag",
    takes=record(key=HEX, number=NUM, header=HEX, plaintext=HEX),
    mid=_GCM_MID,
    gives=record(sealed=HEX),
)
def _seal(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, header, plaintext = (bytes.fromhex(given[name]) for name in ("key", "header", "plaintext"))
    number = int(given["number"])
    return {"nonce": ref.nonce(number)}, {"sealed": ref.seal(key, number, header, plaintext)}


@gcm.op(
    "open",
    "ciphertext and tag to plaintext",
    takes=record(key=HEX, number=NUM, header=HEX, sealed=HEX),
    mid=_GCM_MID,
    gives=record(plaintext=HEX),
)
def _open(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, header, sealed = (bytes.fromhex(given[name]) for name in ("key", "header", "sealed"))
    number = int(given["number"])
    plaintext = ref.unseal(key, number, header, sealed)
    if plaintext is None:
        raise SpecError("drop", "not authentic")
    return {"nonce": ref.nonce(number)}, {"plaintext": plaintext}


KEY = bytes(range(32))
HEADER = bytes.fromhex("40b0b1b2b3b4b5b6b70000000000000102")
for _slug, _number, _header, _plaintext in (
    ("seal-ping", 258, HEADER, b"\x01"),
    ("seal-number-0", 0, HEADER, pattern(16)),
    ("seal-block-and-a-byte", 1, HEADER, pattern(17)),
    ("seal-datagram", 2**32, HEADER, pattern(1167)),
    ("seal-number-beyond-53-bits", 2**53 + 1, HEADER, pattern(15)),
    ("seal-largest-number-of-a-packet", 2**64 - 2, HEADER, pattern(31)),
    ("seal-bulk-header", 259, HEADER + bytes(12), pattern(64)),
    ("seal-no-header", 5, b"", pattern(5)),
):
    gcm.valid(_slug, "seal", "P-021", key=KEY, number=_number, header=_header, plaintext=_plaintext)
SEALED = ref.seal(KEY, 258, HEADER, pattern(20))
gcm.valid("open", "open", "P-021 P-024", key=KEY, number=258, header=HEADER, sealed=SEALED)
gcm.valid(
    "open-nothing",
    "open",
    "P-021",
    "a tag alone: the plaintext is empty",
    key=KEY,
    number=3,
    header=HEADER,
    sealed=ref.seal(KEY, 3, HEADER, b""),
)
gcm.valid(
    "open-datagram",
    "open",
    "P-021",
    key=bytes(32),
    number=2**40,
    header=HEADER,
    sealed=ref.seal(bytes(32), 2**40, HEADER, pattern(1167)),
)
for _slug, _why, _sealed in (
    ("open-tag-of-15", "a tag of 15 bytes", SEALED[:-1]),
    ("open-tag-of-12", "a tag of 12 bytes", SEALED[:-4]),
    ("open-tag-of-8", "a tag of 8 bytes", SEALED[:-8]),
    ("open-tag-of-4", "a tag of 4 bytes", SEALED[:-12]),
    ("open-no-tag", "the ciphertext alone", SEALED[:-16]),
    ("open-empty", "no bytes at all", b""),
    ("open-a-byte", "fewer bytes than a tag", SEALED[:1]),
    ("open-byte-behind", "a byte follows the tag", SEALED + b"\0"),
    ("open-tag-zero", "a tag of zero bytes", SEALED[:-16] + bytes(16)),
    ("open-tag-first-bit", "the first bit of the tag is turned over", flip(SEALED, 20, 0x80)),
    ("open-tag-last-bit", "the last bit of the tag is turned over", flip(SEALED, 35)),
    ("open-ciphertext-bit", "a bit of the ciphertext is turned over", flip(SEALED, 7)),
    ("open-ciphertext-cut", "the first byte of the ciphertext is missing", SEALED[1:]),
    ("open-tag-first", "the tag stands before the ciphertext", SEALED[-16:] + SEALED[:-16]),
):
    gcm.invalid(
        _slug, "open", "drop", "P-023 P-024", _why, key=KEY, number=258, header=HEADER, sealed=_sealed
    )
for _slug, _why, _fields in (
    ("open-other-number", "sealed under another number", {"number": 259}),
    ("open-number-high-half", "the number differs in its highest byte", {"number": 258 + 2**56}),
    ("open-other-key", "sealed under another key", {"key": flip(KEY, 31)}),
    ("open-header-bit", "a bit of the header is turned over", {"header": flip(HEADER, 0)}),
    ("open-header-cut", "the header lacks its last byte", {"header": HEADER[:-1]}),
    ("open-header-empty", "no header", {"header": b""}),
):
    gcm.invalid(
        _slug,
        "open",
        "drop",
        "P-023",
        _why,
        **{"key": KEY, "number": 258, "header": HEADER, "sealed": SEALED, **_fields},
    )

hkdf = Family(
    "hkdf",
    "HKDF with SHA-256 and HMAC as the derivations of chapters 2 to 12 use them: outputs of 32 bytes.",
    "Compute the pseudorandom key of `salt` and `ikm`, then 32 bytes of output under `info`. Every input "
    "is accepted, so there are no "
    "invalid cases; the sizes are those at the edges of the hash's blocks.",
)


@hkdf.op(
    "derive",
    "extract and expand",
    takes=record(salt=HEX, ikm=HEX, info=HEX),
    mid=record(prk=HEX),
    gives=record(okm=HEX),
)
def _derive(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    salt, ikm, info = (bytes.fromhex(given[name]) for name in ("salt", "ikm", "info"))
    prk = ref.extract(salt, ikm)
    return {"prk": prk}, {"okm": ref.expand(prk, info, 32)}


for _slug, _salt, _ikm, _info in (
    ("psk", bytes(range(32)), pattern(32), b"qgl1 psk"),
    ("mac1", bytes(range(32)), pattern(32), b"qgl1 mac1"),
    ("no-ikm", bytes(range(32)), b"", b"qgl1 psk"),
    ("short-ikm", bytes(range(32)), b"s", b"qgl1 psk"),
    ("ikm-of-63", bytes(range(32)), pattern(63), b"qgl1 psk"),
    ("ikm-of-64", bytes(range(32)), pattern(64), b"qgl1 psk"),
    ("ikm-of-65", bytes(range(32)), pattern(65), b"qgl1 psk"),
    ("ikm-of-1024", bytes(range(32)), pattern(1024), b"qgl1 psk"),
    ("salt-zero", bytes(32), pattern(64), b"qgl1 pq"),
    ("info-empty", bytes(range(32)), pattern(32), b""),
    ("info-with-nonce", bytes(range(32)), pattern(32), b"qgl1 cookie" + pattern(16)),
    ("info-of-a-block", bytes(range(32)), pattern(32), pattern(64)),
):
    hkdf.valid(_slug, "derive", "K-001" if _slug in {"psk", "mac1"} else "", salt=_salt, ikm=_ikm, info=_info)

FAMILIES = (ed25519, x25519, gcm, hkdf)

"""Families of short packets: sealing and opening, replay, key phases, new secrets, stateless resets."""

from __future__ import annotations

from ref import SpecError
from ref import packets as ref
from ref.data import LIMITS
from ref.frames import decode_frames
from ref.manifest import reset_key, reset_token
from ref.phases import Receiving
from ref.primitives import sha256, x25519_public

from .family import BOOL, HEX, NUM, Family, Json, array, either, pair, record
from .kem import CIPHERTEXT
from .kem import SECRET as SHARED
from .raw import flip, pattern

NULL: Json = {"type": "null"}
KEY, ID = bytes(range(32)), bytes.fromhex("b0b1b2b3b4b5b6b7")

packet = Family(
    "packet",
    "Short packets with frames and bulk packets (chapter 6.3 and 6.4), and which numbers are new (chapter "
    "6.5).",
    "`seal-frames`, `seal-bulk`: lay out the header and seal the content; the header is associated data. "
    "`open`: read a datagram as a short "
    "packet to a known id and open it. `window`: take packet numbers in order, all authentic; compare "
    "which are taken, and which ranges, from "
    "the highest down, a receiver then knows of.",
)


@packet.op(
    "seal-frames",
    "frames to a datagram",
    takes=record(key=HEX, destination=HEX, number=NUM, phase=NUM, random_bits=NUM, frames=HEX),
    mid=record(header=HEX),
    gives=record(datagram=HEX),
)
def _seal_frames(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, destination, frames = (bytes.fromhex(given[name]) for name in ("key", "destination", "frames"))
    header = ref.frames_header(
        destination, int(given["number"]), phase=given["phase"], random_bits=given["random_bits"]
    )
    return {"header": header}, {"datagram": ref.seal_packet(key, header, frames)}


@packet.op(
    "seal-bulk",
    "a chunk to a datagram",
    takes=record(
        key=HEX, destination=HEX, number=NUM, phase=NUM, random_bits=NUM, transfer=NUM, offset=NUM, chunk=HEX
    ),
    mid=record(header=HEX),
    gives=record(datagram=HEX),
)
def _seal_bulk(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, destination, chunk = (bytes.fromhex(given[name]) for name in ("key", "destination", "chunk"))
    header = ref.bulk_header(
        destination,
        int(given["number"]),
        given["transfer"],
        int(given["offset"]),
        phase=given["phase"],
        random_bits=given["random_bits"],
    )
    return {"header": header}, {"datagram": ref.seal_packet(key, header, chunk)}


@packet.op(
    "open",
    "a datagram to its content",
    takes=record(key=HEX, datagram=HEX),
    mid=record(header=HEX),
    gives=record(
        bulk=BOOL,
        phase=NUM,
        destination=HEX,
        number=NUM,
        transfer=either(NUM, NULL),
        offset=either(NUM, NULL),
        plaintext=HEX,
    ),
)
def _open(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    fields = ref.open_packet(bytes.fromhex(given["key"]), bytes.fromhex(given["datagram"]))
    if not fields["bulk"]:
        decode_frames(fields["plaintext"])
    header = fields.pop("header")
    return {"header": header}, {"transfer": None, "offset": None, **fields}


@packet.op(
    "window",
    "packet numbers to which are new",
    takes=record(numbers=array(NUM)),
    gives=record(taken=array(BOOL), ranges=array(pair(NUM, NUM))),
)
def _window(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seen: set[int] = set()
    taken = []
    for number in map(int, given["numbers"]):
        taken.append(ref.is_new(number, seen))
        seen |= {number} if taken[-1] else set()
    ranges: list[list[int]] = []
    for number in sorted(each for each in seen if each > max(seen) - LIMITS["replay_window"]):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return {}, {"taken": taken, "ranges": ranges[::-1][: LIMITS["ack_ranges"]]}


_SHORT = {"key": KEY, "destination": ID}
packet.valid(
    "seal-ping", "seal-frames", "P-021", **_SHORT, number=258, phase=0, random_bits=0, frames=b"\x01"
)
packet.valid(
    "seal-phase-and-random-bits",
    "seal-frames",
    "P-003 P-004 P-021",
    **_SHORT,
    number=0,
    phase=1,
    random_bits=5,
    frames=pattern(100),
)
packet.valid(
    "seal-largest-number",
    "seal-frames",
    "P-020 P-021",
    **_SHORT,
    number=2**64 - 2,
    phase=0,
    random_bits=7,
    frames=b"\x01",
)
packet.valid(
    "seal-bulk",
    "seal-bulk",
    "P-021",
    **_SHORT,
    number=259,
    phase=0,
    random_bits=0,
    transfer=7,
    offset=32768,
    chunk=b"0123456789abcdef",
)
packet.valid(
    "seal-bulk-largest",
    "seal-bulk",
    "P-021",
    **_SHORT,
    number=2**40,
    phase=1,
    random_bits=3,
    transfer=2**32 - 1,
    offset=2**64 - 1,
    chunk=pattern(1155),
)


def frames(content: bytes, number: int = 258, *, key: bytes = KEY, first: int | None = None) -> bytes:
    """Return a packet with frames; ``first`` replaces its first byte before it is sealed."""
    header = ref.frames_header(ID, number)
    header = header if first is None else bytes([first]) + header[1:]
    return ref.seal_packet(key, header, content)


def bulk(content: bytes, first: int | None = None) -> bytes:
    """Return a bulk packet."""
    header = ref.bulk_header(ID, 259, 7, 32768)
    header = header if first is None else bytes([first]) + header[1:]
    return ref.seal_packet(KEY, header, content)


PING = frames(b"\x01")
CHUNK = bulk(b"0123456789abcdef")
packet.valid("open-frames", "open", "P-024 P-030", key=KEY, datagram=PING)
packet.valid(
    "open-random-bits",
    "open",
    "P-003",
    "the lowest bits mean nothing",
    key=KEY,
    datagram=frames(b"\x01", first=0x47),
)
packet.valid("open-bulk", "open", "P-024", key=KEY, datagram=CHUNK)
packet.valid("window-in-order", "window", "P-022", numbers=[0, 1, 2, 3])
packet.valid("window-reordered", "window", "P-022", numbers=[5, 3, 4, 8, 1])
packet.valid(
    "window-repeated",
    "window",
    "P-022",
    "each number is taken once",
    (),
    {"numbers[1]": "any number seen before"},
    numbers=[7, 7, 5, 9, 9],
)
packet.valid(
    "window-left-behind",
    "window",
    "P-022",
    "4096 below the highest is too old, 4095 is not",
    (),
    {"numbers[1]": "too old whatever it is, or the last that is not"},
    numbers=[5000, 904, 905],
)
packet.valid(
    "window-jump",
    "window",
    "P-022",
    "a jump leaves everything behind",
    (),
    {"numbers[1]": "left behind whatever it is"},
    numbers=[0, 1, 2**40, 2**40 - 4095],
)
for _slug, _rules, _why, _datagram in (
    ("empty", "V-002", "no bytes", b""),
    ("header-cut", "P-031", "cut inside the number", PING[:12]),
    ("header-alone", "P-023", "no ciphertext and no tag", PING[:17]),
    ("tag-cut", "P-023", "the last byte of the tag is missing", PING[:-1]),
    ("tag-changed", "P-023", "a bit of the tag is turned over", flip(PING, -1)),
    ("content-changed", "P-023", "a bit of the ciphertext is turned over", flip(PING, 17)),
    ("number-changed", "P-023", "a bit of the number is turned over", flip(PING, 16)),
    ("id-changed", "P-023", "a bit of the id is turned over", flip(PING, 1)),
    ("random-bits-changed", "P-003 P-023", "the lowest bits are associated data", flip(PING, 0)),
    ("phase-changed", "P-004 P-023", "the key phase bit is associated data", flip(PING, 0, 0x20)),
    ("byte-behind", "P-023", "a byte follows the tag", PING + b"\0"),
    ("other-key", "P-023", "sealed under another key", frames(b"\x01", key=bytes(32))),
    ("reserved-bit", "P-002", "bit 3 of the first byte is set", frames(b"\x01", first=0x48)),
    ("reserved-bit-bulk", "P-002", "bit 3 of the first byte is set", bulk(b"c", first=0x58)),
    ("bit-6-clear", "V-002", "not of this protocol", frames(b"\x01", first=0x00)),
    ("bit-7-set", "V-002", "not of this protocol", frames(b"\x01", first=0x80)),
    ("long", "V-002", "a long packet", b"\xc0" + PING[1:]),
    ("bulk-as-frames", "P-023", "a bulk packet whose bulk bit is cleared on the way", flip(CHUNK, 0, 0x10)),
    (
        "frames-as-bulk",
        "P-023",
        "a packet with frames whose bulk bit is set on the way",
        flip(frames(pattern(40)), 0, 0x10),
    ),
    ("bulk-offset-changed", "P-023", "a bit of the offset is turned over", flip(CHUNK, 28)),
    ("bulk-header-cut", "P-023", "cut inside the offset", CHUNK[:25]),
):
    packet.invalid(f"open-{_slug}", "open", "drop", _rules, _why, key=KEY, datagram=_datagram)
packet.invalid(
    "open-no-frames",
    "open",
    "E_FRAME_FORMAT",
    "F-001",
    "authentic, and without a frame",
    key=KEY,
    datagram=frames(b""),
)
packet.invalid(
    "open-frame-cut",
    "open",
    "E_FRAME_FORMAT",
    "F-001",
    "authentic, and its frame is cut",
    key=KEY,
    datagram=frames(b"\x05\x00"),
)
packet.invalid(
    "open-frame-unknown",
    "open",
    "E_FRAME_UNKNOWN",
    "F-002",
    "authentic, and of a type that is not in use",
    key=KEY,
    datagram=frames(b"\x07"),
)

# --- key phases ---

phases = Family(
    "key-phase",
    "Keys of following phases, and which key a packet is opened under (chapter 5a.6).",
    "`chain`: derive the keys of the next three phases. `receive`: take datagrams in order at a receiver "
    "whose key of phase 0 is `key`, with all "
    "keys of a phase before still kept; compare for each the phase that it opened in, or null where it is "
    "dropped, and its plaintext.",
)


@phases.op("chain", "a key to those of the next phases", takes=record(key=HEX), gives=record(keys=array(HEX)))
def _chain(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    keys = [bytes.fromhex(given["key"])]
    for _ in range(3):
        keys.append(ref.rekey(keys[-1]))
    return {}, {"keys": keys[1:]}


@phases.op(
    "receive",
    "datagrams to the phases that they opened in",
    takes=record(key=HEX, datagrams=array(HEX)),
    mid=record(next_key=HEX),
    gives=record(phases=array(either(NUM, NULL)), plaintexts=array(HEX)),
)
def _receive(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    receiving = Receiving(bytes.fromhex(given["key"]))
    found: list[int | None] = []
    texts: list[bytes] = []
    next_key = receiving.next
    for datagram in map(bytes.fromhex, given["datagrams"]):
        try:
            fields = ref.short_fields(datagram)
            opened = receiving.open(datagram, fields, 0.0, 1.0)
        except SpecError as error:
            if error.code != "drop":
                raise
            found.append(None)
            texts.append(b"")
            continue
        earlier = receiving.phase & 1 != fields["phase"]
        found.append(receiving.phase - earlier)
        texts.append(opened["plaintext"])
    return {"next_key": next_key}, {"phases": found, "plaintexts": texts}


K = [KEY]
for _ in range(4):
    K.append(ref.rekey(K[-1]))


def at(phase: int, number: int, *, key: int | None = None, text: bytes | None = None) -> bytes:
    """Return a packet of a phase, sealed under its key or that of another phase."""
    header = ref.frames_header(ID, number, phase=phase)
    return ref.seal_packet(K[phase if key is None else key], header, text or b"\x01" * (number % 5 + 1))


phases.valid("chain", "chain", "K-021", key=KEY)
phases.valid("chain-zero", "chain", "K-021", key=bytes(32))
phases.valid("receive-one-phase", "receive", "K-020 K-024", key=KEY, datagrams=[at(0, 1), at(0, 2), at(0, 0)])
phases.valid(
    "receive-next-phase", "receive", "K-020 K-023", key=KEY, datagrams=[at(0, 1), at(1, 5), at(1, 6)]
)
phases.valid(
    "receive-late-of-before",
    "receive",
    "K-024",
    "a late packet of the phase before",
    key=KEY,
    datagrams=[at(0, 1), at(1, 5), at(0, 3), at(1, 6)],
)
phases.valid(
    "receive-two-changes",
    "receive",
    "K-023",
    "one bit is enough",
    key=KEY,
    datagrams=[at(0, 1), at(1, 5), at(2, 9), at(1, 7), at(2, 10), at(3, 12)],
)
phases.valid(
    "receive-forged-bit",
    "receive",
    "K-023 K-026",
    "a forged phase bit changes nothing",
    (),
    {"datagrams[1]": "not authentic"},
    key=KEY,
    datagrams=[at(0, 1), at(1, 5, key=0), at(0, 6)],
)
phases.valid(
    "receive-two-ahead",
    "receive",
    "K-023",
    "a packet two phases ahead opens under no key",
    (),
    {"datagrams[1]": "not authentic"},
    key=KEY,
    datagrams=[at(0, 1), at(2, 5), at(1, 6)],
)
for _slug, _why, _datagrams in (
    (
        "newer-below",
        "the next key for a number below the highest of the present phase",
        [at(0, 1), at(0, 10), at(1, 5)],
    ),
    (
        "newer-just-below",
        "the next key for a number below the highest of the present phase",
        [at(0, 1), at(0, 9), at(0, 8), at(1, 7)],
    ),
    (
        "older-above",
        "the key before for a number above one of the present phase",
        [at(0, 1), at(1, 5), at(0, 6)],
    ),
    (
        "older-far-above",
        "the key before for a number above one of the present phase",
        [at(0, 1), at(1, 5), at(0, 2**40)],
    ),
    (
        "present-below-before",
        "the present key for a number below one of the phase before",
        [at(0, 1), at(0, 4), at(1, 9), at(1, 3)],
    ),
    (
        "present-below-late",
        "the present key for a number below a late one of the phase before",
        [at(0, 1), at(1, 9), at(0, 6), at(1, 5)],
    ),
    (
        "older-after-two",
        "the key before for a number above one of the present phase, after two changes",
        [at(0, 1), at(1, 5), at(2, 9), at(1, 10)],
    ),
    (
        "second-change-below",
        "a second change below the highest number",
        [at(0, 1), at(1, 5), at(1, 12), at(2, 11)],
    ),
):
    phases.invalid(
        f"receive-{_slug}", "receive", "E_KEY_UPDATE", "K-025", _why, key=KEY, datagrams=_datagrams
    )

# --- new secrets ---

mixes = Family(
    "pq-mix",
    "New secrets for a session's keys: ML-KEM-768 and X25519 (chapter 5a.7).",
    "`mix`: derive the next key of a direction from its present key, the secret and the session's "
    "handshake hash; method 1 is ML-KEM-768, 2 is "
    "X25519. `offer`: compute the value of OFFER from a private key (for method 1, d and z of FIPS 203). "
    "`answer`: as the answering side of "
    "method 2, compute the value of REPLY and the secret. `conclude`: compute the secret from the value of "
    "REPLY. `encapsulation-key`: check "
    "the value of an OFFER of method 1 (FIPS 203, section 7.2).",
)


@mixes.op(
    "mix",
    "a secret to the next key",
    takes=record(key=HEX, secret=HEX, h=HEX, method=NUM),
    gives=record(next_key=HEX),
)
def _mix(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, secret, h = (bytes.fromhex(given[name]) for name in ("key", "secret", "h"))
    return {}, {"next_key": ref.mix_secret(key, secret, h, given["method"])}


@mixes.op(
    "offer",
    "a private key to the value of OFFER",
    takes=record(method=NUM, private=HEX),
    gives=record(value=HEX),
)
def _offer(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    return {}, {"value": ref.exchange_offer({1: 1, 2: 2}[given["method"]], bytes.fromhex(given["private"]))}


@mixes.op(
    "answer",
    "an OFFER of X25519 to REPLY and secret",
    takes=record(private=HEX, offer=HEX),
    gives=record(value=HEX, secret=HEX),
)
def _answer(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    value, secret = ref.exchange_reply(
        ref.X25519, bytes.fromhex(given["offer"]), bytes.fromhex(given["private"])
    )
    return {}, {"value": value, "secret": secret}


@mixes.op(
    "conclude",
    "a REPLY to the secret",
    takes=record(method=NUM, private=HEX, reply=HEX),
    gives=record(secret=HEX),
)
def _conclude(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    method = {1: 1, 2: 2}[given["method"]]
    return {}, {
        "secret": ref.exchange_secret(method, bytes.fromhex(given["private"]), bytes.fromhex(given["reply"]))
    }


@mixes.op(
    "encapsulation-key",
    "whether an encapsulation key is one",
    takes=record(value=HEX),
    gives=record(sha256=HEX),
)
def _encapsulation_key(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    value = bytes.fromhex(given["value"])
    ref.exchange_reply(ref.ML_KEM_768, value, b"")
    return {}, {"sha256": sha256(value)}


H, SECRET = b"\xa5" * 32, b"\x5a" * 32
D_Z = bytes(range(64))
OURS, THEIRS = b"\x55" * 32, b"\x66" * 32
KEM_KEY = ref.exchange_offer(1, D_Z)
for _method in (1, 2):
    mixes.valid(f"mix-method-{_method}", "mix", "K-033", key=KEY, secret=SECRET, h=H, method=_method)
mixes.valid(
    "offer-ml-kem",
    "offer",
    "K-037",
    "",
    (),
    {"private[32:64]": "z is for implicit rejection alone"},
    method=1,
    private=D_Z,
)
mixes.valid("offer-x25519", "offer", "K-039", method=2, private=OURS)
mixes.valid("answer", "answer", "K-036", private=THEIRS, offer=x25519_public(OURS))
mixes.valid(
    "conclude-x25519",
    "conclude",
    "K-035",
    "the secret of the case before",
    method=2,
    private=OURS,
    reply=x25519_public(THEIRS),
)
mixes.valid(
    "conclude-ml-kem",
    "conclude",
    "K-035",
    "a ciphertext that nobody made: implicit rejection gives a secret all the same",
    (),
    {"private[0:32]": "d is not used for it"},
    method=1,
    private=D_Z,
    reply=b"\x5a" * 1088,
)
mixes.valid(
    "conclude-ml-kem-encapsulated",
    "conclude",
    "K-035",
    "a ciphertext that was made for this key",
    (),
    {"private[32:64]": "z is for implicit rejection alone"},
    method=1,
    private=D_Z,
    reply=CIPHERTEXT,
)
if mixes.tests[-1]["out"]["secret"] != SHARED.hex():
    raise AssertionError("the secret is not that of whoever encapsulated it")
mixes.valid("encapsulation-key", "encapsulation-key", "K-032", value=KEM_KEY)
for _slug, _why, _op, _fields in (
    ("answer-31", "a public key of 31 bytes", "answer", {"private": THEIRS, "offer": bytes(31)}),
    (
        "answer-33",
        "a public key of 33 bytes",
        "answer",
        {"private": THEIRS, "offer": x25519_public(OURS) + b"\0"},
    ),
    ("answer-zero", "a public key of small order", "answer", {"private": THEIRS, "offer": bytes(32)}),
    (
        "answer-one",
        "a public key of small order",
        "answer",
        {"private": THEIRS, "offer": (1).to_bytes(32, "little")},
    ),
    (
        "conclude-x25519-zero",
        "a public key of small order",
        "conclude",
        {"method": 2, "private": OURS, "reply": bytes(32)},
    ),
    (
        "conclude-x25519-nothing",
        "a public key without bytes",
        "conclude",
        {"method": 2, "private": OURS, "reply": b""},
    ),
    (
        "conclude-ml-kem-1087",
        "a ciphertext of 1,087 bytes",
        "conclude",
        {"method": 1, "private": D_Z, "reply": bytes(1087)},
    ),
    (
        "conclude-ml-kem-1089",
        "a ciphertext of 1,089 bytes",
        "conclude",
        {"method": 1, "private": D_Z, "reply": bytes(1089)},
    ),
    ("key-1183", "an encapsulation key of 1,183 bytes", "encapsulation-key", {"value": KEM_KEY[:-1]}),
    ("key-1185", "an encapsulation key of 1,185 bytes", "encapsulation-key", {"value": KEM_KEY + b"\0"}),
    (
        "key-coefficient",
        "a coefficient of 3,329 or more",
        "encapsulation-key",
        {"value": b"\xff\xff" + KEM_KEY[2:]},
    ),
    ("key-all-ones", "every coefficient is 4,095", "encapsulation-key", {"value": b"\xff" * 1184}),
):
    mixes.invalid(_slug, _op, "E_SCHEMA", "K-032", _why, **_fields)

# --- stateless reset ---

resets = Family(
    "stateless-reset",
    "Tokens of stateless resets, how large a reset may be, and what is one (chapter 6b.6).",
    "`token`: derive the token of a connection id in the way that the chapter gives. `size`: the least and "
    "the largest size of a reset that "
    "answers a datagram of so many bytes, `drop` where it is not answered. `recognize`: judge a datagram "
    "that is a short packet with no id of "
    "this node, by the tokens of the ids that its sessions use.",
)


@resets.op(
    "token",
    "a connection id to its token",
    takes=record(seed=HEX, swarm_id=HEX, connection_id=HEX),
    mid=record(reset_key=HEX),
    gives=record(token=HEX),
)
def _token(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    seed, swarm, connection = (bytes.fromhex(given[name]) for name in ("seed", "swarm_id", "connection_id"))
    key = reset_key(seed, swarm)
    return {"reset_key": key}, {"token": reset_token(key, connection)}


@resets.op(
    "size",
    "the size of a datagram to that of its reset",
    takes=record(bytes=NUM),
    gives=record(least=NUM, most=NUM),
)
def _size(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    if given["bytes"] <= 40:
        raise SpecError("drop", "too small to be answered (Q-041)")
    return {}, {"least": 40, "most": min(100, given["bytes"] - 1)}


@resets.op(
    "recognize",
    "a datagram to the token that it ends with",
    takes=record(tokens=array(HEX), datagram=HEX),
    gives=record(token=HEX, index=NUM),
)
def _recognize(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data = bytes.fromhex(given["datagram"])
    if len(data) < 40 or data[-16:].hex() not in given["tokens"]:
        raise SpecError("drop", "not a reset of these sessions (Q-042)")
    return {}, {"token": data[-16:], "index": given["tokens"].index(data[-16:].hex())}


SEED, SWARM = b"\x22" * 32, sha256(b"a manifest")
TOKEN = reset_token(reset_key(SEED, SWARM), ID)
OTHER_TOKEN = reset_token(reset_key(SEED, SWARM), bytes(8))
resets.valid("token", "token", "Q-040", seed=SEED, swarm_id=SWARM, connection_id=ID)
resets.valid("token-other-swarm", "token", "Q-044", seed=SEED, swarm_id=sha256(b"another"), connection_id=ID)
resets.valid("token-other-peer", "token", "Q-040", seed=b"\x11" * 32, swarm_id=SWARM, connection_id=ID)
resets.valid("size-41", "size", "Q-041", bytes=41)
resets.valid("size-100", "size", "Q-041", bytes=100)
resets.valid(
    "size-1200", "size", "Q-041", "", (), {"bytes": "more than 101 bytes change nothing"}, bytes=1200
)
_BODY = {"datagram[0:24]": "bytes in front of the token mean nothing", "tokens[1]": "another id's token"}
resets.valid(
    "recognize",
    "recognize",
    "Q-042",
    "",
    (),
    _BODY,
    tokens=[TOKEN, OTHER_TOKEN],
    datagram=b"\x40" + pattern(23) + TOKEN,
)
resets.valid(
    "recognize-second",
    "recognize",
    "Q-042",
    "",
    (),
    {"datagram[0:64]": "bytes in front of the token mean nothing", "tokens[0]": "another id's token"},
    tokens=[OTHER_TOKEN, TOKEN],
    datagram=b"\x47" + pattern(63) + TOKEN,
)
for _bytes in (40, 39, 33, 1, 0):
    resets.invalid(
        f"size-{_bytes}", "size", "drop", "Q-041", "40 bytes or fewer are not answered", bytes=_bytes
    )
for _slug, _why, _tokens, _datagram in (
    ("39-bytes", "one byte too short to be a reset", [TOKEN], b"\x40" + pattern(22) + TOKEN),
    ("token-alone", "the token alone", [TOKEN], TOKEN),
    ("no-token", "the node has no session", [], b"\x40" + pattern(23) + TOKEN),
    ("other-token", "the token of no session", [OTHER_TOKEN], b"\x40" + pattern(23) + TOKEN),
    (
        "token-changed",
        "the last bit of the token is turned over",
        [TOKEN],
        b"\x40" + pattern(23) + flip(TOKEN, 15),
    ),
    (
        "token-first-bit",
        "the first bit of the token is turned over",
        [TOKEN],
        b"\x40" + pattern(23) + flip(TOKEN, 0, 0x80),
    ),
    ("token-cut", "the token lacks its last byte", [TOKEN], b"\x40" + pattern(24) + TOKEN[:15]),
    ("token-not-last", "a byte follows the token", [TOKEN], b"\x40" + pattern(23) + TOKEN + b"\0"),
    ("token-first", "the token stands at the beginning", [TOKEN], TOKEN + pattern(24)),
):
    resets.invalid(
        f"recognize-{_slug}", "recognize", "drop", "Q-042", _why, tokens=_tokens, datagram=_datagram
    )

FAMILIES = (packet, phases, mixes, resets)

"""Families of what is inside packets: frames, ACK ranges, the CONTROL stream, connection ids."""

from __future__ import annotations

from typing import Any

from ref import SpecError, frames
from ref.data import CHANNELS, LIMITS, is_grease

from .family import BOOL, HEX, NUM, TEXT, Family, Json, array, either, pair, record
from .raw import pattern

RANGES = array(pair(NUM, NUM))


def _kind(name: str, **fields: Json) -> Json:
    return record(type={"const": name}, **fields)


FRAME = either(
    _kind("PING"),
    _kind("ACK", ranges=RANGES, delay=NUM),
    _kind("CONTROL", offset=NUM, data=HEX),
    _kind("MAX_CONTROL", limit=NUM),
    _kind("MAX_DATA", transfer=NUM, limit=NUM),
    _kind("PATH_CHALLENGE", data=HEX),
    _kind("PATH_RESPONSE", data=HEX),
    _kind("NEW_CID", sequence=NUM, connection_id=HEX, token=HEX),
    _kind("RETIRE_CID", sequence=NUM),
    _kind("CLOSE", code=NUM, reason=TEXT),
)

frame = Family(
    "frames",
    "Frames inside a packet (chapter 7).",
    "`decode`: read all frames of a packet's plaintext. Compare those that mean something in their order: "
    "PADDING and GREASE are left out, ACK_ECN "
    "is written as ACK. Delays are in units of 8 µs, ranges of packet numbers from the highest down, each "
    "lowest and highest. `encode`: write the "
    "frames one after the other.",
)


@frame.op(
    "decode",
    "a plaintext to its frames",
    takes=record(payload=HEX),
    gives=record(frames=array(FRAME), asks_for_ack=BOOL),
)
def _decode(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    found = frames.decode_frames(bytes.fromhex(given["payload"]))
    kept: list[dict[str, Any]] = []
    for each in found:
        if each["type"] in {"PADDING", "GREASE"}:
            continue
        if each["type"] in {"ACK", "ACK_ECN"}:
            kept.append({"type": "ACK", "ranges": each["ranges"], "delay": each["delay"]})
        else:
            kept.append(each)
    return {}, {"frames": kept, "asks_for_ack": frames.asks_for_ack(found)}


@frame.op("encode", "frames to a plaintext", takes=record(frames=array(FRAME)), gives=record(payload=HEX))
def _encode(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    made = []
    for each in given["frames"]:
        fields = {
            name: bytes.fromhex(value) if name in {"data", "connection_id", "token"} else value
            for name, value in each.items()
        }
        fields |= {name: int(fields[name]) for name in ("offset", "limit") if name in fields}
        made.append(fields)
    return {}, {"payload": frames.encode_frames(made)}


TOKEN, ID = pattern(16), pattern(8)
ACK = {"type": "ACK", "ranges": [[8, 10], [5, 5], [0, 2]], "delay": 500}
for _slug, _rules, _frame in (
    ("ping", "F-001", {"type": "PING"}),
    ("ack", "F-022", ACK),
    ("ack-of-zero", "F-022", {"type": "ACK", "ranges": [[0, 0]], "delay": 0}),
    ("control", "F-030", {"type": "CONTROL", "offset": 100, "data": "000005a200030107"}),
    ("control-empty", "F-030", {"type": "CONTROL", "offset": 0, "data": ""}),
    ("max-control", "F-030", {"type": "MAX_CONTROL", "limit": 98304}),
    ("max-data", "F-050", {"type": "MAX_DATA", "transfer": 7, "limit": 1572864}),
    ("path-challenge", "F-010", {"type": "PATH_CHALLENGE", "data": ID.hex()}),
    ("path-response", "F-010", {"type": "PATH_RESPONSE", "data": ID.hex()}),
    ("new-cid", "P-032", {"type": "NEW_CID", "sequence": 1, "connection_id": ID.hex(), "token": TOKEN.hex()}),
    ("retire-cid", "P-034", {"type": "RETIRE_CID", "sequence": 0}),
    ("close", "F-060", {"type": "CLOSE", "code": 0x16, "reason": "newer"}),
    ("close-without-reason", "F-060", {"type": "CLOSE", "code": 0, "reason": ""}),
):
    frame.valid(f"encode-{_slug}", "encode", _rules, frames=[_frame])
EACH = frames.encode_frames(
    [
        {"type": "ACK", "ranges": [(8, 10), (5, 5), (0, 2)], "delay": 500},
        {"type": "CONTROL", "offset": 7, "data": b"abc"},
        {"type": "MAX_CONTROL", "limit": 2**64 - 1},
        {"type": "MAX_DATA", "transfer": 2**32 - 1, "limit": 2**53},
        {"type": "PATH_CHALLENGE", "data": ID},
        {"type": "PATH_RESPONSE", "data": ID},
        {"type": "NEW_CID", "sequence": 3, "connection_id": ID, "token": TOKEN},
        {"type": "RETIRE_CID", "sequence": 2},
        {"type": "PING"},
        {"type": "CLOSE", "code": 2, "reason": "ü"},
    ]
)
frame.valid("decode-one-of-each", "decode", "F-001 F-004", payload=EACH)
frame.valid(
    "decode-padding",
    "decode",
    "F-001",
    "PADDING before, between and behind",
    payload=bytes(3) + b"\x01" + bytes(40) + b"\x01\x00",
)
frame.valid(
    "decode-padding-alone", "decode", "F-001", "a packet of PADDING asks for nothing", payload=bytes(5)
)
frame.valid(
    "decode-grease",
    "decode",
    "F-003",
    "a GREASE frame is skipped",
    ["Grease"],
    {"payload[4:7]": "the body of a GREASE frame"},
    payload="013a0003aabbcc01",
)
frame.valid("decode-grease-empty", "decode", "F-003", "", ["Grease"], payload="f4000001")
frame.valid(
    "decode-ack-ecn",
    "decode",
    "F-023",
    "the counts have no effect",
    (),
    {"payload[16:40]": "counts of marked packets"},
    payload="03000000000000000a01f40000000002" + "0000000000000001" * 3,
)
frame.valid(
    "decode-close-not-utf-8",
    "decode",
    "F-001",
    "what is not UTF-8 is replaced",
    (),
    {"payload[4:6]": "replaced whatever it is"},
    payload="1c000202fffe",
)
frame.valid("decode-close-longest", "decode", "E-004", payload=b"\x1c\x00\x02\x40" + b"r" * 64)
for _slug, _why, _payload in (
    ("empty", "a packet without frames", ""),
    ("ack-cut-in-head", "an ACK that is cut in its head", "02000000000000000a01f400000000"),
    ("ack-range-missing", "an ACK that lacks its further range", "02000000000000000a01f40100000002"),
    ("ack-ecn-without-counts", "an ACK_ECN without its counts", "03000000000000000a01f40000000002"),
    ("ack-ecn-count-cut", "an ACK_ECN that lacks a byte", "03000000000000000a01f40000000002" + "00" * 23),
    ("control-cut-in-head", "a CONTROL frame without its length", "040000000000000064"),
    ("control-cut", "a CONTROL frame that lacks a byte", "04000000000000006400080000"),
    ("max-control-cut", "a MAX_CONTROL frame of 7 bytes", "0500000000000180"),
    ("max-data-cut", "a MAX_DATA frame that lacks a byte", "060000000700000000001800"),
    ("challenge-cut", "a PATH_CHALLENGE of 7 bytes", "0c00010203040506"),
    ("response-cut", "a PATH_RESPONSE of 7 bytes", "0d00010203040506"),
    ("new-cid-cut", "a NEW_CID without the end of its token", "0e00000001" + ID.hex() + TOKEN.hex()[:-2]),
    ("retire-cid-cut", "a RETIRE_CID that lacks a byte", "0f000000"),
    ("close-cut-in-head", "a CLOSE without the length of its reason", "1c0002"),
    ("close-cut", "a CLOSE whose reason lacks a byte", "1c0002036162"),
    ("close-65", "a reason of 65 bytes", "1c000241" + "72" * 65),
    ("grease-without-length", "a GREASE frame without its length", "3a00"),
    ("grease-cut", "a GREASE frame that lacks a byte", "3a0003aabb"),
    ("second-cut", "a whole frame, then one that is cut", "010500"),
):
    frame.invalid(f"decode-{_slug}", "decode", "E_FRAME_FORMAT", "F-001", _why, payload=_payload)
for _slug, _why, _payload in (
    ("relay", "RELAY is not in use", "1000000001000101"),
    ("unassigned", "a type that is not assigned", "07"),
    ("unassigned-behind-ping", "a type that is not assigned, behind PING", "0111"),
    ("near-grease", "0x1a is no GREASE", "1a000000"),
    ("private", "a private type", "ff"),
):
    frame.invalid(f"decode-{_slug}", "decode", "E_FRAME_UNKNOWN", "F-002", _why, payload=_payload)

acks = Family(
    "ack-ranges",
    "ACK frames: ranges of packet numbers to bytes and back (chapter 7.3).",
    "`encode`: write an ACK of these ranges, from the highest down, each lowest and highest, with a delay "
    "in units of 8 µs. `decode`: read one.",
)
_ACK = record(ranges=RANGES, delay=NUM)


@acks.op("encode", "ranges to an ACK", takes=_ACK, gives=record(frame=HEX))
def _ack(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    ranges = [(int(low), int(high)) for low, high in given["ranges"]]
    return {}, {"frame": frames.encode_frame({"type": "ACK", "ranges": ranges, "delay": given["delay"]})}


@acks.op("decode", "an ACK to ranges", takes=record(frame=HEX), gives=_ACK)
def _ranges(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    (found,) = frames.decode_frames(bytes.fromhex(given["frame"]))
    return {}, {"ranges": found["ranges"], "delay": found["delay"]}


def ack(ranges: list[tuple[int, int]], delay: int = 0) -> bytes:
    """Return an ACK."""
    return frames.encode_frame({"type": "ACK", "ranges": ranges, "delay": delay})


_MANY = [(4 * n, 4 * n + 1) for n in range(31, -1, -1)]
for _slug, _rules, _ranges_of, _delay in (
    ("one-packet", "F-021", [[0, 0]], 0),
    ("one-range", "F-021", [[3, 1000]], 1),
    ("neighbours", "F-021", [[5, 6], [3, 3]], 500),
    ("example", "F-021", [[8, 10], [5, 5], [0, 2]], 500),
    ("high-numbers", "F-021", [[2**53, 2**53 + 9], [2**53 - 7, 2**53 - 3]], 65534),
    ("32-ranges", "F-021", _MANY, 3125),
    ("longest-delay", "F-022", [[1, 1]], 65535),
):
    acks.valid(f"encode-{_slug}", "encode", _rules, ranges=_ranges_of, delay=_delay)
acks.valid("decode-example", "decode", "F-020", frame=ack([(8, 10), (5, 5), (0, 2)], 500))
acks.valid(
    "decode-64-ranges",
    "decode",
    "F-020",
    "63 further ranges",
    frame=ack([(3 * n, 3 * n) for n in range(63, -1, -1)]),
)
acks.valid(
    "decode-largest", "decode", "F-020", frame=ack([(2**64 - 2, 2**64 - 1), (2**64 - 2**32, 2**64 - 2**32)])
)


def ack_bytes(largest: int, more: int, first: int, *further: tuple[int, int]) -> bytes:
    """Return an ACK of any fields."""
    head = b"\x02" + largest.to_bytes(8, "big") + bytes(2) + bytes([more]) + first.to_bytes(4, "big")
    return head + b"".join(gap.to_bytes(4, "big") + length.to_bytes(4, "big") for gap, length in further)


for _slug, _why, _frame_bytes in (
    ("first-below-zero", "the first range reaches below packet 0", ack_bytes(5, 0, 6)),
    ("first-far-below-zero", "the first range reaches below packet 0", ack_bytes(0, 0, 2**32 - 1)),
    ("gap-below-zero", "a gap reaches below packet 0", ack_bytes(5, 1, 3, (1, 0))),
    ("gap-to-minus-one", "a further range ends at packet -1", ack_bytes(5, 1, 5, (0, 0))),
    ("further-below-zero", "a further range reaches below packet 0", ack_bytes(10, 1, 2, (3, 4))),
    ("largest-gap", "the largest gap that there is", ack_bytes(2**32, 1, 0, (2**32 - 1, 0))),
    ("largest-length", "the largest length that there is", ack_bytes(2**32, 1, 0, (0, 2**32 - 1))),
    ("64-further", "64 further ranges", ack_bytes(1000, 64, 0, *[(0, 0)] * 64)),
    ("255-further", "255 further ranges", ack_bytes(1000, 255, 0, *[(0, 0)] * 255)),
    ("range-missing", "two further ranges where three are announced", ack_bytes(100, 3, 0, (0, 0), (0, 0))),
    ("cut", "the last byte is missing", ack([(8, 10), (5, 5)])[:-1]),
):
    acks.invalid(f"decode-{_slug}", "decode", "E_FRAME_FORMAT", "F-020 F-001", _why, frame=_frame_bytes)

control = Family(
    "control-stream",
    "Messages on the CONTROL stream (chapter 7.4).",
    "Take the pieces of the stream in order and cut them into messages: channel, 2 bytes of length, "
    "message. Compare the whole messages with their "
    "channels, those on GREASE channels left out, and how many bytes of an unfinished one are left. A "
    "length is judged as soon as it is there.",
)


@control.op(
    "cut",
    "bytes of the stream to messages",
    takes=record(pieces=array(HEX)),
    gives=record(messages=array(pair(NUM, HEX)), unfinished=NUM),
)
def _cut(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data, found = b"".join(map(bytes.fromhex, given["pieces"])), []
    while len(data) >= 3:
        channel, length = data[0], int.from_bytes(data[1:3], "big")
        if length > LIMITS["control_message_bytes"]:
            raise SpecError("E_TOO_BIG", "a length above the limit (F-040)")
        if len(data) < 3 + length:
            break
        if not is_grease(channel):
            if channel not in CHANNELS.values():
                raise SpecError("E_FRAME_UNKNOWN", "a channel that is not in use (F-041)")
            found.append([channel, data[3 : 3 + length]])
        data = data[3 + length :]
    return {}, {"messages": found, "unfinished": len(data)}


def message(channel: int, body: bytes) -> bytes:
    """Return a message on the stream."""
    return bytes([channel]) + len(body).to_bytes(2, "big") + body


control.valid("one", "cut", "F-042", pieces=[message(0, b"\xa2\x00\x03\x01\x07")])
control.valid("all-channels", "cut", "F-042", pieces=[b"".join(message(n, bytes([n])) for n in range(7))])
control.valid(
    "byte-by-byte",
    "cut",
    "F-042",
    "no part of a message is handed on",
    (),
    {"pieces[6]": "the channel of a message that is not whole"},
    pieces=[bytes([byte]) for byte in message(1, b"abc") + b"\x02"],
)
control.valid(
    "unfinished",
    "cut",
    "F-042",
    "the last byte is missing",
    (),
    {"pieces[0]": "a message that is not whole"},
    pieces=[message(2, b"abcd")[:-1]],
)
control.valid("empty-message", "cut", "F-042", pieces=[message(3, b"")])
control.valid(
    "grease-channel",
    "cut",
    "F-041",
    "a GREASE channel is skipped",
    ["Grease"],
    {"pieces[0][3:6]": "a message on a GREASE channel"},
    pieces=[message(0x3A, b"abc") + message(5, b"x")],
)
control.valid(
    "split-anywhere",
    "cut",
    "F-042",
    pieces=[
        message(4, b"first")[:2],
        message(4, b"first")[2:] + message(6, b"second")[:5],
        message(6, b"second")[5:],
    ],
)
for _slug, _code, _rules, _why, _pieces in (
    (
        "too-long",
        "E_TOO_BIG",
        "F-040",
        "a length of 16,385, known before the message is there",
        [b"\x00\x40\x01"],
    ),
    ("longest-length", "E_TOO_BIG", "F-040", "a length of 65,535", [b"\x02\xff\xff\x00"]),
    (
        "too-long-behind-a-message",
        "E_TOO_BIG",
        "F-040",
        "a length of 16,385 behind a whole message",
        [message(0, b"a") + b"\x01\x40\x01"],
    ),
    ("too-long-on-grease", "E_TOO_BIG", "F-040", "a GREASE channel has no other limit", [b"\x3a\x40\x01"]),
    ("channel-7", "E_FRAME_UNKNOWN", "F-041", "a channel that is not in use", [message(7, b"a")]),
    ("channel-1a", "E_FRAME_UNKNOWN", "F-041", "0x1a is no GREASE", [message(0x1A, b"")]),
    ("channel-255", "E_FRAME_UNKNOWN", "F-041", "a private channel", [message(255, b"a")]),
    (
        "channel-behind-a-message",
        "E_FRAME_UNKNOWN",
        "F-041",
        "a channel that is not in use behind a whole message",
        [message(0, b"a"), message(9, b"")],
    ),
):
    control.invalid(_slug, "cut", _code, _rules, _why, pieces=_pieces)

ids = Family(
    "connection-ids",
    "Connection ids that a peer gives and retires (chapter 6.6).",
    "`remote`: begin with id 0 and take events in order: `new` is a NEW_CID of the peer (number, id, "
    "token), `retire` is this node giving an id up. "
    "Compare the ids that stand. `local`: a node has given out the first four of `ids`, numbered from 0, "
    "and gives the next ones as the "
    "peer retires some; `retire` is the number of a RETIRE_CID and the id that its packet bears. Compare "
    "the ids that stand.",
)
_CID = pair(NUM, HEX, HEX)


@ids.op(
    "remote",
    "events to the ids of the peer that stand",
    takes=record(first=_CID, events=array(either(record(new=_CID), record(retire=NUM)))),
    gives=record(standing=array(_CID), retired=NUM),
)
def _remote(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    known = {given["first"][0]: given["first"]}
    gone: set[int] = set()
    for event in given["events"]:
        if "retire" in event:
            gone.add(event["retire"])
            del known[event["retire"]]
            continue
        number, identifier, token = event["new"]
        if number in gone or known.get(number) == [number, identifier, token]:
            continue
        if number in known:
            raise SpecError("E_PROTOCOL", "another id or token under one number (P-036)")
        if number >= len(gone) + LIMITS["connection_ids"]:
            raise SpecError("E_CID_LIMIT", "more ids than may stand (P-035)")
        if identifier in [each[1] for each in known.values()]:
            raise SpecError("E_PROTOCOL", "another number for one id (P-036)")
        known[number] = event["new"]
    return {}, {"standing": [known[number] for number in sorted(known)], "retired": len(gone)}


@ids.op(
    "local",
    "retirements to the ids of this node that stand",
    takes=record(ids=array(HEX), retire=array(pair(NUM, HEX))),
    gives=record(standing=array(pair(NUM, HEX))),
)
def _local(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    standing = dict(enumerate(given["ids"][: LIMITS["connection_ids"]]))
    count = len(standing)
    for number, bearing in given["retire"]:
        if number >= count:
            raise SpecError("E_PROTOCOL", "a number that was never given out (P-037)")
        if standing.get(number) == bearing:
            raise SpecError("E_PROTOCOL", "the id that the packet bears (P-037)")
        if standing.pop(number, None) is not None:
            standing[count] = given["ids"][count]
            count += 1
    return {}, {"standing": [[number, standing[number]] for number in sorted(standing)]}


def cid(number: int, name: int | None = None) -> list[Json]:
    """Return number, id and token."""
    return [number, pattern(8, 10 * (number if name is None else name)).hex(), pattern(16, number).hex()]


FIRST = cid(0)
_UP_TO_3: list[Json] = [{"new": cid(number)} for number in (1, 2, 3)]
ids.valid("remote-stock", "remote", "P-032 P-035", first=FIRST, events=_UP_TO_3)
ids.valid("remote-reordered", "remote", "P-035", first=FIRST, events=_UP_TO_3[::-1])
ids.valid(
    "remote-repeated",
    "remote",
    "P-036",
    "one that was seen changes nothing",
    first=FIRST,
    events=[*_UP_TO_3, {"new": cid(2)}],
)
ids.valid(
    "remote-retired",
    "remote",
    "P-035",
    "a retired id makes room for another",
    (),
    {"first[1]": "an id that is retired", "first[2]": "the token of an id that is retired"},
    first=FIRST,
    events=[*_UP_TO_3, {"retire": 0}, {"new": cid(4)}],
)
ids.valid(
    "remote-late-of-retired",
    "remote",
    "P-036",
    "a late NEW_CID for an id that was retired is ignored",
    (),
    {
        "events[0].new[1]": "an id that is retired",
        "events[0].new[2]": "the token of an id that is retired",
        "events[2]": "whatever it says of a retired id",
    },
    first=FIRST,
    events=[{"new": cid(1)}, {"retire": 1}, {"new": cid(1)}],
)
ids.valid("local-none", "local", "P-032", ids=[cid(n)[1] for n in range(4)], retire=[])
ids.valid(
    "local-two",
    "local",
    "P-032 P-037",
    "",
    (),
    {
        "ids[0]": "an id that is retired",
        "ids[1]": "an id that is retired",
        "retire[0][1]": "any other id",
        "retire[1][1]": "any other id",
    },
    ids=[cid(n)[1] for n in range(6)],
    retire=[[0, cid(1)[1]], [1, cid(2)[1]]],
)
ids.valid(
    "local-again",
    "local",
    "P-037",
    "a RETIRE_CID for a retired id is ignored",
    (),
    {"ids[0]": "an id that is retired", "retire": "an id that is retired already, whatever bears the news"},
    ids=[cid(n)[1] for n in range(5)],
    retire=[[0, cid(1)[1]], [0, cid(1)[1]]],
)
for _slug, _code, _rules, _why, _events in (
    ("fifth", "E_CID_LIMIT", "P-035", "a fifth id", [*_UP_TO_3, {"new": cid(4)}]),
    ("number-4-at-once", "E_CID_LIMIT", "P-035", "number 4 where 3 is the last", [{"new": cid(4)}]),
    (
        "largest-number",
        "E_CID_LIMIT",
        "P-035",
        "the largest number that there is",
        [{"new": cid(2**32 - 1, 9)}],
    ),
    (
        "one-retired-two-new",
        "E_CID_LIMIT",
        "P-035",
        "one was retired, two come",
        [*_UP_TO_3, {"retire": 2}, {"new": cid(4)}, {"new": cid(5)}],
    ),
    (
        "other-id",
        "E_PROTOCOL",
        "P-036",
        "another id under one number",
        [{"new": cid(1)}, {"new": [1, cid(7)[1], cid(1)[2]]}],
    ),
    (
        "other-token",
        "E_PROTOCOL",
        "P-036",
        "another token under one number",
        [{"new": cid(1)}, {"new": [1, cid(1)[1], cid(7)[2]]}],
    ),
    (
        "other-number",
        "E_PROTOCOL",
        "P-036",
        "another number for one id",
        [{"new": cid(1)}, {"new": cid(2, 1)}],
    ),
    (
        "id-of-the-handshake",
        "E_PROTOCOL",
        "P-036",
        "another number for the id of the handshake",
        [{"new": cid(1, 0)}],
    ),
    ("number-of-the-handshake", "E_PROTOCOL", "P-036", "another id under number 0", [{"new": cid(0, 5)}]),
):
    ids.invalid(f"remote-{_slug}", "remote", _code, _rules, _why, first=FIRST, events=_events)
for _slug, _why, _retire in (
    ("never-given", "a number that was not given out yet", [[4, cid(0)[1]]]),
    ("largest", "the largest number that there is", [[2**32 - 1, cid(0)[1]]]),
    ("bearing", "the id that the packet bears", [[1, cid(1)[1]]]),
    (
        "bearing-the-new-one",
        "the id that the packet bears, given in exchange",
        [[0, cid(1)[1]], [4, cid(4)[1]]],
    ),
):
    ids.invalid(
        f"local-{_slug}",
        "local",
        "E_PROTOCOL",
        "P-037",
        _why,
        ids=[cid(n)[1] for n in range(6)],
        retire=_retire,
    )

FAMILIES = (frame, acks, control, ids)

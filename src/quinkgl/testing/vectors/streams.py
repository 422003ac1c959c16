"""Operations of the families of what is inside packets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from quinkgl.testing.vectors.ours import Fields, Json, operation
from quinkgl.transport.connection_ids import ConnectionId, LocalIds, RemoteIds
from quinkgl.wire import frames
from quinkgl.wire.control import HEADER_BYTES, Channel, ControlReader, encode_control
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import CONNECTION_ID_BYTES

_QUIET = (frames.Ack, frames.Close)
_LONGEST_DELAY = 0xFFFF
_NAMES: dict[type[frames.Frame], str] = {
    frames.Ping: "PING",
    frames.Control: "CONTROL",
    frames.MaxControl: "MAX_CONTROL",
    frames.MaxData: "MAX_DATA",
    frames.PathChallenge: "PATH_CHALLENGE",
    frames.PathResponse: "PATH_RESPONSE",
    frames.NewCid: "NEW_CID",
    frames.RetireCid: "RETIRE_CID",
    frames.Close: "CLOSE",
}


def _shown(frame: frames.Frame) -> Json:
    if isinstance(frame, frames.Ack):
        return {
            "type": "ACK",
            "ranges": frame.ranges,
            "delay": round(frame.delay_s / frames.ACK_DELAY_UNIT_S),
        }
    return {"type": _NAMES[type(frame)], **asdict(frame)}


def _ack(fields: Json) -> bytes:
    ranges = tuple((int(low), int(high)) for low, high in fields["ranges"])
    if fields["delay"] > _LONGEST_DELAY:
        raise ValueError("a delay beyond its field")
    return frames.encode_ack(frames.Ack(ranges, fields["delay"] * frames.ACK_DELAY_UNIT_S))


_WRITERS: dict[str, Callable[[Json], bytes]] = {
    "PING": lambda _: frames.PING,
    "ACK": _ack,
    "CONTROL": lambda f: frames.encode_control_frame(int(f["offset"]), bytes.fromhex(f["data"])),
    "MAX_CONTROL": lambda f: frames.encode_max_control(int(f["limit"])),
    "MAX_DATA": lambda f: frames.encode_max_data(f["transfer"], int(f["limit"])),
    "PATH_CHALLENGE": lambda f: frames.encode_path_challenge(bytes.fromhex(f["data"])),
    "PATH_RESPONSE": lambda f: frames.encode_path_response(bytes.fromhex(f["data"])),
    "NEW_CID": lambda f: frames.encode_new_cid(
        f["sequence"], bytes.fromhex(f["connection_id"]), bytes.fromhex(f["token"])
    ),
    "RETIRE_CID": lambda f: frames.encode_retire_cid(f["sequence"]),
    "CLOSE": lambda f: frames.encode_close(f["code"], f["reason"]),
}


@operation("frames", "decode")
def decode(given: Fields) -> tuple[Fields, Fields]:
    """Read the frames of a packet."""
    found = frames.decode_frames_untrusted(bytes.fromhex(given["payload"]))
    asks = any(not isinstance(each, _QUIET) for each in found)
    return {}, {"frames": list(map(_shown, found)), "asks_for_ack": asks}


@operation("frames", "encode")
def encode(given: Fields) -> tuple[Fields, Fields]:
    """Write frames."""
    return {}, {"payload": b"".join(_WRITERS[each["type"]](each) for each in given["frames"])}


@operation("ack-ranges", "encode")
def encode_ack(given: Fields) -> tuple[Fields, Fields]:
    """Write an ACK."""
    return {}, {"frame": _ack(given)}


@operation("ack-ranges", "decode")
def decode_ack(given: Fields) -> tuple[Fields, Fields]:
    """Read an ACK."""
    (found,) = map(_shown, frames.decode_frames_untrusted(bytes.fromhex(given["frame"])))
    return {}, {"ranges": found["ranges"], "delay": found["delay"]}


@operation("control-stream", "cut")
def cut(given: Fields) -> tuple[Fields, Fields]:
    """Cut a stream into messages."""
    reader = ControlReader()
    found: list[tuple[Channel, bytes]] = []
    for piece in given["pieces"]:
        found += reader.feed_untrusted(bytes.fromhex(piece))
    rest = b"".join(map(bytes.fromhex, given["pieces"]))
    for channel, body in found:  # what is left of the stream behind the last message that was handed on
        rest = rest.partition(encode_control(channel, body))[2]
    while len(rest) >= HEADER_BYTES and len(rest) >= HEADER_BYTES + int.from_bytes(
        rest[1:HEADER_BYTES], "big"
    ):
        rest = rest[HEADER_BYTES + int.from_bytes(rest[1:HEADER_BYTES], "big") :]
    return {}, {"messages": found, "unfinished": len(rest)}


def _entry(fields: Json) -> ConnectionId:
    return ConnectionId(fields[0], bytes.fromhex(fields[1]), bytes.fromhex(fields[2]))


@operation("connection-ids", "remote")
def remote(given: Fields) -> tuple[Fields, Fields]:
    """Take what a peer says of its ids, and give some up."""
    first = _entry(given["first"])
    ids, seen, gone = RemoteIds(first), {first.sequence: first}, set()
    for event in given["events"]:
        if "new" in event:
            entry = _entry(event["new"])
            ids.receive_untrusted(entry)
            seen.setdefault(entry.sequence, entry)
        else:
            ids.retire(seen[event["retire"]])
            gone.add(event["retire"])
    standing = {first.sequence: first} if first.sequence not in gone else {}
    while (taken := ids.take()) is not None:
        standing[taken.sequence] = taken
    shown = [(entry.sequence, entry.id, entry.token) for _, entry in sorted(standing.items())]
    retired = 0
    while ids.next_news() is not None:
        retired += 1
    return {}, {"standing": shown, "retired": retired}


@operation("connection-ids", "local")
def local(given: Fields) -> tuple[Fields, Fields]:
    """Give ids out, and take word of those that the peer will not use again."""
    names = list(map(bytes.fromhex, given["ids"]))
    stock = iter(names[1:])
    ids = LocalIds(ConnectionId(0, names[0], b""), lambda: (next(stock), bytes(CONNECTION_ID_BYTES)))
    ids.supply()
    for number, bearing in given["retire"]:
        ids.retire_untrusted(number, bytes.fromhex(bearing))
    numbers = {name: number for number, name in enumerate(names)}
    if len(ids.ids()) != LIMITS.connection_ids:
        raise ValueError("a stock that is not filled up")
    return {}, {"standing": sorted((numbers[name], name) for name in ids.ids())}

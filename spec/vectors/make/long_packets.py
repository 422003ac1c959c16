"""Families around the handshake: long packets, the cookie, versions."""

from __future__ import annotations

from ref import SpecError, handshake
from ref.manifest import Keys, member_keys
from ref.primitives import seal

from .family import BOOL, HEX, NUM, Family, Json, array, record
from .handshakes import M1, M2, M3, MANIFEST, A, B
from .raw import flip, pattern

# --- the cookie ---

KEYS = member_keys(MANIFEST)
INIT = handshake.encode_init(
    KEYS, [1], bytes.fromhex("c0c1c2c3c4c5c6c7"), bytes.fromhex(A["connection_id"]), M1
)
cookies = Family(
    "cookie",
    "The sealed cookie of a responder under load, and mac2 (chapter 5.9).",
    "`seal`: derive the key from mac1 key and nonce and seal the cookie for the mac1 of the INIT; build "
    "COOKIE. `open`: open a COOKIE that "
    "answers the INIT. `prove`: put mac2 under the cookie into the INIT.",
)


@cookies.op(
    "seal",
    "a cookie to COOKIE",
    takes=record(mac1_key=HEX, init=HEX, nonce=HEX, cookie=HEX),
    mid=record(key=HEX),
    gives=record(packet=HEX),
)
def _seal(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, init, nonce, cookie = (
        bytes.fromhex(given[name]) for name in ("mac1_key", "init", "nonce", "cookie")
    )
    keys = Keys(1, b"", b"", b"", key)
    return {"key": handshake.cookie_key(key, nonce)}, {
        "packet": handshake.encode_cookie(keys, init, nonce, cookie)
    }


@cookies.op(
    "open",
    "COOKIE to the cookie",
    takes=record(mac1_key=HEX, init=HEX, packet=HEX),
    mid=record(key=HEX),
    gives=record(cookie=HEX),
)
def _open(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    key, init, packet = (bytes.fromhex(given[name]) for name in ("mac1_key", "init", "packet"))
    cookie = handshake.open_cookie(Keys(1, b"", b"", b"", key), init, packet)
    return {"key": handshake.cookie_key(key, packet[21:37])}, {"cookie": cookie}


@cookies.op(
    "prove",
    "an INIT to the same with mac2",
    takes=record(init=HEX, cookie=HEX),
    gives=record(mac2=HEX, init=HEX),
)
def _prove(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    init, cookie = bytes.fromhex(given["init"]), bytes.fromhex(given["cookie"])
    return {}, {"mac2": handshake.mac2(cookie, init), "init": handshake.with_mac2(cookie, init)}


NONCE, COOKIE = b"\x88" * 16, b"\x77" * 16
PACKET = handshake.encode_cookie(KEYS, INIT, NONCE, COOKIE)
_OF_INIT = {
    "init[0:1]": "only version, ids and mac1 of the INIT matter here",
    "init[5:13]": "the destination id of the INIT does not stand in its COOKIE",
    f"init[37:{len(INIT)}]": "what mac1 stands for",
}
cookies.valid(
    "seal", "seal", "S-060", "", (), _OF_INIT, mac1_key=KEYS.mac1_key, init=INIT, nonce=NONCE, cookie=COOKIE
)
cookies.valid(
    "seal-other",
    "seal",
    "S-060",
    "",
    (),
    _OF_INIT,
    mac1_key=bytes(32),
    init=INIT,
    nonce=bytes(16),
    cookie=pattern(16),
)
cookies.valid(
    "open",
    "open",
    "S-065",
    "",
    (),
    {**_OF_INIT, "packet[13:21]": "the source id of a COOKIE is ignored"},
    mac1_key=KEYS.mac1_key,
    init=INIT,
    packet=PACKET,
)
cookies.valid(
    "open-any-source",
    "open",
    "S-065 W-011",
    "the source id is ignored",
    (),
    {**_OF_INIT, "packet[13:21]": "the source id of a COOKIE is ignored"},
    mac1_key=KEYS.mac1_key,
    init=INIT,
    packet=PACKET[:13] + pattern(8, 1) + PACKET[21:],
)
cookies.valid(
    "prove",
    "prove",
    "S-065",
    "",
    (),
    {"init[37:53]": "mac2 takes the place of what stood there"},
    init=INIT,
    cookie=COOKIE,
)
for _slug, _code, _why, _packet in (
    ("cut", "E_PROTOCOL", "68 bytes", PACKET[:-1]),
    ("longer", "E_PROTOCOL", "70 bytes", PACKET + b"\0"),
    (
        "version",
        "E_VERSION",
        "another version than the INIT's",
        PACKET[:1] + bytes.fromhex("00000002") + PACKET[5:],
    ),
    ("nonce-changed", "E_HS_DECRYPT", "a bit of the nonce is turned over", flip(PACKET, 21)),
    ("cookie-changed", "E_HS_DECRYPT", "a bit of the sealed cookie is turned over", flip(PACKET, 37)),
    ("tag-changed", "E_HS_DECRYPT", "a bit of the tag is turned over", flip(PACKET, 68)),
    ("zero", "E_HS_DECRYPT", "a sealed cookie of zero bytes", PACKET[:37] + bytes(32)),
    ("in-the-clear", "E_HS_DECRYPT", "the cookie in the clear", PACKET[:37] + COOKIE + bytes(16)),
    (
        "without-associated-data",
        "E_HS_DECRYPT",
        "sealed without the mac1 of the INIT",
        PACKET[:37] + seal(handshake.cookie_key(KEYS.mac1_key, NONCE), 0, b"", COOKIE),
    ),
):
    cookies.invalid(
        f"open-{_slug}", "open", _code, "S-065", _why, mac1_key=KEYS.mac1_key, init=INIT, packet=_packet
    )
cookies.invalid(
    "open-other-init",
    "open",
    "E_HS_DECRYPT",
    "S-065",
    "the COOKIE answers another INIT of the same attempt",
    mac1_key=KEYS.mac1_key,
    init=flip(INIT, 21),
    packet=PACKET,
)
cookies.invalid(
    "open-other-key",
    "open",
    "E_HS_DECRYPT",
    "S-065",
    "the mac1 key of another swarm",
    mac1_key=bytes(32),
    init=INIT,
    packet=PACKET,
)

# --- versions ---

versions = Family(
    "version-negotiation",
    "The list of versions: how it is written and read, what is chosen from it, and downgrades (chapters "
    "1.6 and 5.10).",
    "`answer`: build VERNEG for the first 21 bytes of an INIT with these versions. `read`: read a VERNEG. "
    "`choose`: choose the version to "
    "begin anew in, from those that this node speaks, the one that it likes best first. `check`: judge the "
    "version of an INIT and its list "
    "at a responder that speaks these versions.",
)


@versions.op(
    "answer",
    "the head of an INIT to VERNEG",
    takes=record(head=HEX, versions=array(NUM)),
    gives=record(packet=HEX),
)
def _answer(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    return {}, {"packet": handshake.encode_verneg(bytes.fromhex(given["head"]), given["versions"])}


@versions.op(
    "read",
    "VERNEG to its list",
    takes=record(packet=HEX),
    gives=record(destination=HEX, source=HEX, versions=array(NUM)),
)
def _read(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    fields = handshake.decode_verneg(bytes.fromhex(given["packet"]))
    return {}, {name: fields[name] for name in ("destination", "source", "versions")}


@versions.op(
    "choose",
    "a list to a version",
    takes=record(spoken=array(NUM), listed=array(NUM)),
    mid=record(common=array(NUM)),
    gives=record(version=NUM),
)
def _choose(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    chosen = handshake.choose_version(given["spoken"], given["listed"], opened=-1)
    return {"common": [each for each in given["spoken"] if each in given["listed"]]}, {"version": chosen}


@versions.op(
    "check",
    "an INIT's list to whether its version is the right one",
    takes=record(version=NUM, offered=array(NUM), spoken=array(NUM)),
    gives=record(accepted=BOOL),
)
def _check(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    handshake.check_versions(given["offered"], given["version"], given["spoken"])
    return {}, {"accepted": True}


LIST = handshake.encode_verneg(INIT, [3, 0x1A2A3A4A])
_BEGIN = {"head[0:5]": "the ids alone stand in the answer"}
versions.valid("answer", "answer", "S-071 V-011", "", (), _BEGIN, head=INIT[:21], versions=[3, 0x1A2A3A4A])
versions.valid("answer-16", "answer", "S-071", "", (), _BEGIN, head=INIT[:21], versions=list(range(1, 17)))
versions.valid("read", "read", "V-012", packet=LIST)
versions.valid("read-one", "read", "V-012", packet=handshake.encode_verneg(INIT, [0xFFFFFFFF]))
versions.valid("read-16", "read", "V-012", packet=handshake.encode_verneg(INIT, list(range(16))))
versions.valid(
    "choose-best",
    "choose",
    "S-072",
    "",
    (),
    {"spoken[1]": "liked less", "listed[0]": "not spoken", "listed[1]": "liked less"},
    spoken=[3, 2],
    listed=[9, 2, 3],
)
versions.valid("choose-second", "choose", "S-072", spoken=[2], listed=[2])
_OWN = "that the version itself is spoken was found out before (S-071)"
versions.valid(
    "check-first",
    "check",
    "S-073",
    "",
    (),
    {"offered[1]": "behind the version", "spoken": _OWN},
    version=1,
    offered=[1, 2],
    spoken=[1, 2],
)
versions.valid(
    "check-behind-grease",
    "check",
    "S-073",
    "nobody speaks the GREASE version",
    (),
    {"offered[0]": "not spoken", "spoken": _OWN},
    version=1,
    offered=[0x1A2A3A4A, 1],
    spoken=[1],
)
versions.valid(
    "check-better-not-spoken",
    "check",
    "S-073",
    "the responder does not speak the better one",
    (),
    {"offered[0]": "not spoken", "spoken": _OWN},
    version=1,
    offered=[9, 1],
    spoken=[1],
)
for _slug, _why, _packet in (
    ("empty-list", "a list of no version", LIST[:21] + b"\0"),
    ("17", "a list of 17 versions", LIST[:21] + b"\x11" + bytes(68)),
    ("cut", "a byte of the last version is missing", LIST[:-1]),
    ("longer", "a byte follows the list", LIST + b"\0"),
    ("count-too-small", "n says 1, and there are 2", LIST[:21] + b"\x01" + LIST[22:]),
    ("count-too-large", "n says 3, and there are 2", LIST[:21] + b"\x03" + LIST[22:]),
    ("version-1", "the version is not 0", LIST[:4] + b"\x01" + LIST[5:]),
    ("header-alone", "nothing behind the ids", LIST[:21]),
    ("reserved-bits", "reserved bits of the first byte are set", b"\xd4" + LIST[1:]),
    ("short-form", "not a long packet", b"\x44" + LIST[1:]),
):
    versions.invalid(f"read-{_slug}", "read", "E_PROTOCOL", "V-012 P-010", _why, packet=_packet)
for _slug, _why, _listed in (
    ("none", "no common version", [9, 10]),
    ("grease-alone", "a GREASE version is none", [0x1A2A3A4A]),
):
    versions.invalid(f"choose-{_slug}", "choose", "E_VERSION", "S-072", _why, spoken=[3, 2], listed=_listed)
for _slug, _why, _fields in (
    (
        "downgrade",
        "a better version is offered and spoken",
        {"version": 1, "offered": [2, 1], "spoken": [2, 1]},
    ),
    ("not-offered", "the version is not in the list", {"version": 1, "offered": [2], "spoken": [1]}),
    (
        "downgrade-behind-grease",
        "a better version behind GREASE",
        {"version": 1, "offered": [0x1A2A3A4A, 2, 1], "spoken": [1, 2]},
    ),
):
    versions.invalid(f"check-{_slug}", "check", "E_VERSION", "S-073", _why, **_fields)

# --- long packets ---

longs = Family(
    "packet-long",
    "Long packets: INIT, RESP, FIN, COOKIE (chapter 6.2).",
    "Read a datagram as a long packet of version 1. mac1 and the Noise message are not checked here. "
    "Compare the fields; `noise` of a COOKIE is "
    "its nonce and the sealed cookie, and fields that a kind does not have are empty. What is refused is "
    "dropped in silence and counted.",
)


@longs.op(
    "decode",
    "a datagram to a long packet",
    takes=record(datagram=HEX),
    gives=record(
        type=NUM,
        version=NUM,
        destination=HEX,
        source=HEX,
        mac1=HEX,
        mac2=HEX,
        versions=array(NUM),
        noise=HEX,
        bytes=NUM,
    ),
)
def _long(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    data = bytes.fromhex(given["datagram"])
    first = handshake.long_fields(data)["first"]
    out: dict[str, Json] = {"mac1": b"", "mac2": b"", "versions": [], "bytes": len(data)}
    if first == handshake.INIT:
        fields = handshake.decode_init(data)
        out |= {name: fields[name] for name in ("mac1", "mac2", "versions")} | {"noise": fields["message"]}
    elif first in {handshake.RESP, handshake.FIN}:
        fields = handshake.decode_answer(data)
        out["noise"] = fields["message"]
    elif first == handshake.COOKIE:
        fields = handshake.long_fields(data)
        if fields["version"] != handshake.VERSION:
            raise SpecError("E_VERSION", "another version")
        if len(data) != 69:
            raise SpecError("E_PROTOCOL", "a COOKIE of another size")
        out["noise"] = data[21:]
    else:
        raise SpecError("E_PROTOCOL", "reserved bits, or a type that is not in use")
    return {}, {
        "type": first & 0x0F,
        "version": fields["version"],
        "destination": fields["destination"],
        "source": fields["source"],
        **out,
    }


RESP = handshake.encode_answer(
    handshake.RESP, bytes.fromhex(A["connection_id"]), bytes.fromhex(B["connection_id"]), M2
)
FIN = handshake.encode_answer(
    handshake.FIN, bytes.fromhex(B["connection_id"]), bytes.fromhex(A["connection_id"]), M3
)
longs.valid("init", "decode", "V-003 P-010 S-010 S-011", datagram=INIT)
longs.valid("init-with-mac2", "decode", "S-065", datagram=handshake.with_mac2(COOKIE, INIT))
longs.valid("init-larger", "decode", "S-010", "more padding than is needed", datagram=INIT + bytes(100))
longs.valid(
    "init-16-versions",
    "decode",
    "S-013",
    datagram=handshake.encode_init(KEYS, list(range(1, 17)), bytes(8), pattern(8), M1),
)
longs.valid("resp", "decode", "P-010 P-011", datagram=RESP)
longs.valid("fin", "decode", "P-010 P-011", datagram=FIN)
longs.valid("cookie", "decode", "P-010", datagram=PACKET)
for _slug, _code, _rules, _why, _data in (
    ("empty", "E_PROTOCOL", "V-002", "no bytes", b""),
    ("twenty-bytes", "E_PROTOCOL", "V-003", "cut inside the ids", INIT[:20]),
    ("init-1199", "E_PROTOCOL", "S-013 P-010", "an INIT of 1,199 bytes", INIT[:1199]),
    ("init-bit-5", "E_PROTOCOL", "P-001", "bit 5 of the first byte is set", b"\xe0" + INIT[1:]),
    ("init-bit-4", "E_PROTOCOL", "P-001", "bit 4 of the first byte is set", b"\xd0" + INIT[1:]),
    ("type-5", "E_PROTOCOL", "P-001", "a type that is not in use", b"\xc5" + INIT[1:]),
    ("type-15", "E_PROTOCOL", "P-001", "a type that is not in use", b"\xcf" + INIT[1:]),
    ("init-version-2", "E_VERSION", "S-071", "another version", INIT[:4] + b"\x02" + INIT[5:]),
    ("init-no-versions", "E_PROTOCOL", "S-013", "a list of 0 versions", INIT[:53] + b"\0" + INIT[54:]),
    ("init-17-versions", "E_PROTOCOL", "S-013", "a list of 17 versions", INIT[:53] + b"\x11" + INIT[54:]),
    (
        "init-message-beyond",
        "E_PROTOCOL",
        "P-010",
        "the Noise message is longer than the packet",
        INIT[:58] + b"\xff\xff" + INIT[60:],
    ),
    ("init-padding", "E_PROTOCOL", "S-013", "the last byte of padding is not zero", INIT[:-1] + b"\x01"),
    (
        "init-padding-first",
        "E_PROTOCOL",
        "S-013",
        "the first byte of padding is not zero",
        INIT[:108] + b"\x01" + INIT[109:],
    ),
    ("resp-version-0", "E_VERSION", "S-074", "version 0", RESP[:1] + bytes(4) + RESP[5:]),
    ("resp-longer", "E_PROTOCOL", "P-010", "a byte follows the message", RESP + b"\0"),
    ("resp-shorter", "E_PROTOCOL", "P-010", "a byte of the message is missing", RESP[:-1]),
    ("resp-bit-5", "E_PROTOCOL", "P-001", "bit 5 of the first byte is set", b"\xe1" + RESP[1:]),
    (
        "fin-version-grease",
        "E_VERSION",
        "S-074",
        "a GREASE version",
        FIN[:1] + bytes.fromhex("1a2a3a4a") + FIN[5:],
    ),
    ("fin-longer", "E_PROTOCOL", "P-010", "a byte follows the message", FIN + b"\0"),
    ("fin-cut", "E_PROTOCOL", "P-010", "nothing behind the length", FIN[:23]),
    ("cookie-cut", "E_PROTOCOL", "P-010", "a COOKIE of 68 bytes", PACKET[:-1]),
    ("cookie-longer", "E_PROTOCOL", "P-010", "a COOKIE of 70 bytes", PACKET + b"\0"),
    ("cookie-version", "E_VERSION", "P-010", "another version", PACKET[:4] + b"\x02" + PACKET[5:]),
):
    longs.invalid(_slug, "decode", _code, _rules, _why, datagram=_data)

FAMILIES = (cookies, versions, longs)

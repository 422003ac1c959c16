"""Families of objects: hash trees, offers, what is sent and received of a transfer."""

from __future__ import annotations

from ref import SpecError, merkle
from ref import messages as ref_messages
from ref import objects as ref
from ref.data import ERRORS, LIMITS
from ref.primitives import sha256

from .family import HEX, NUM, Family, Json, array, either, pair, record
from .raw import flip, item, pattern

LEAF = 16384

tree = Family(
    "merkle",
    "Hash trees of objects, and the verification of what arrives of one (chapter 9.1 and 9.4).",
    "Byte i of an object, or of a chunk, is (`start` + i) mod 251. `root`: compute the leaf hashes and the "
    "root of an object of `size` bytes. "
    "`receive`: accept an offer of this root and size, then take chunks of its byte space in order: at "
    "`offset` either `bytes`, or `size` bytes "
    "counted up from `start`, of which the lowest bit of byte `flip` is turned over where it is given. "
    "Compare the hash of each chunk, and the hash of the whole object.",
)


@tree.op(
    "root",
    "an object to its root",
    takes=record(size=NUM, start=NUM),
    mid=record(leaves=array(HEX)),
    gives=record(root=HEX, list_bytes=NUM, byte_space=NUM),
)
def _root(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    body = pattern(given["size"], given["start"])
    listed = merkle.list_bytes(len(body))
    return {"leaves": merkle.leaf_hashes(body)}, {
        "root": merkle.root(body),
        "list_bytes": listed,
        "byte_space": listed + len(body),
    }


def chunk_bytes(chunk: dict[str, Json]) -> bytes:
    """Return the bytes of a chunk."""
    if "bytes" in chunk:
        return bytes.fromhex(chunk["bytes"])
    data = pattern(chunk["size"], chunk["start"])
    return flip(data, chunk["flip"]) if "flip" in chunk else data


CHUNK = either(record(offset=NUM, bytes=HEX), record(offset=NUM, size=NUM, start=NUM, flip_=NUM))


@tree.op(
    "receive",
    "chunks to the object",
    takes=record(root=HEX, size=NUM, chunks=array(CHUNK)),
    mid=record(chunks=array(pair(NUM, HEX))),
    gives=record(sha256=HEX, size=NUM),
)
def _receive(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    incoming = ref.Incoming(bytes.fromhex(given["root"]), given["size"])
    taken = [(chunk["offset"], sha256(chunk_bytes(chunk))) for chunk in given["chunks"]]
    for chunk in given["chunks"]:
        incoming.take(chunk["offset"], chunk_bytes(chunk))
    body = incoming.whole()
    if body is None:
        raise ValueError("the chunks do not make the object whole")
    return {"chunks": taken}, {"sha256": sha256(body), "size": len(body)}


for _slug, _size, _start in (
    ("empty", 0, 0),
    ("one-byte", 1, 7),
    ("three-bytes", 3, 97),
    ("leaf-less-one", LEAF - 1, 0),
    ("one-leaf", LEAF, 0),
    ("leaf-and-a-byte", LEAF + 1, 0),
    ("two-leaves", 2 * LEAF, 5),
    ("three-leaves", 40000, 0),
    ("four-leaves", 4 * LEAF, 0),
    ("five-leaves", 4 * LEAF + 1, 0),
    ("seven-leaves", 7 * LEAF - 100, 3),
):
    tree.valid(
        f"root-{_slug}",
        "root",
        "O-024",
        "",
        (),
        {"start": "an object without bytes"} if not _size else None,
        size=_size,
        start=_start,
    )

SIZE = 40000
BODY = pattern(SIZE)
ROOT = merkle.root(BODY)
LIST = b"".join(merkle.leaf_hashes(BODY))
L = len(LIST)


def part(start: int, stop: int, **more: int) -> dict[str, Json]:
    """Return a chunk of the body by its offsets there."""
    return {"offset": L + start, "size": stop - start, "start": start % 251, **more}


LISTED: dict[str, Json] = {"offset": 0, "bytes": LIST.hex()}
LEAVES = [part(0, LEAF), part(LEAF, 2 * LEAF), part(2 * LEAF, SIZE)]
tree.valid("receive-in-order", "receive", "O-023 O-024 O-025", root=ROOT, size=SIZE, chunks=[LISTED, *LEAVES])
tree.valid(
    "receive-list-last",
    "receive",
    "O-024",
    "leaves wait for the list",
    root=ROOT,
    size=SIZE,
    chunks=[*LEAVES[::-1], LISTED],
)
tree.valid(
    "receive-pieces",
    "receive",
    "O-024",
    root=ROOT,
    size=SIZE,
    chunks=[
        {"offset": 32, "bytes": LIST[32:].hex()},
        part(100, 30000),
        {"offset": 0, "bytes": LIST[:32].hex()},
        part(30000, SIZE),
        part(0, 100),
    ],
)
tree.valid(
    "receive-one-leaf",
    "receive",
    "O-024",
    "there is no list",
    root=merkle.root(pattern(5000, 3)),
    size=5000,
    chunks=[{"offset": 0, "size": 2000, "start": 3}, {"offset": 2000, "size": 3000, "start": 2003 % 251}],
)
tree.valid(
    "receive-first-copy-counts",
    "receive",
    "O-023",
    "a second copy of a byte is ignored, even a wrong one",
    (),
    None,
    root=ROOT,
    size=SIZE,
    chunks=[LISTED, LEAVES[1], part(LEAF, LEAF + 100, flip=50), LEAVES[0], LEAVES[2]],
)
for _slug, _why, _fields in (
    ("other-root", "the list does not give the root", {"root": flip(ROOT, 0)}),
    (
        "list-changed",
        "a bit of the list is turned over",
        {"chunks": [{"offset": 0, "bytes": flip(LIST, 40).hex()}]},
    ),
    (
        "list-swapped",
        "two leaf hashes are exchanged",
        {"chunks": [{"offset": 0, "bytes": (LIST[32:64] + LIST[:32] + LIST[64:]).hex()}]},
    ),
    ("list-zero", "a list of zero bytes", {"chunks": [{"offset": 0, "bytes": bytes(L).hex()}]}),
    (
        "first-leaf",
        "the first byte of the first leaf is wrong",
        {"chunks": [LISTED, part(0, LEAF, flip=0), *LEAVES[1:]]},
    ),
    (
        "middle-leaf",
        "the last byte of a leaf is wrong",
        {"chunks": [LISTED, LEAVES[0], part(LEAF, 2 * LEAF, flip=LEAF - 1), LEAVES[2]]},
    ),
    (
        "last-leaf",
        "a byte of the last leaf is wrong",
        {"chunks": [LISTED, *LEAVES[:2], part(2 * LEAF, SIZE, flip=9)]},
    ),
    (
        "before-the-list",
        "a wrong leaf that came before the list",
        {"chunks": [part(0, LEAF, flip=3), *LEAVES[1:], LISTED]},
    ),
    (
        "leaves-swapped",
        "two leaves are exchanged",
        {
            "chunks": [
                LISTED,
                {"offset": L, "size": LEAF, "start": LEAF % 251},
                {"offset": L + LEAF, "size": LEAF, "start": 0},
                LEAVES[2],
            ]
        },
    ),
    (
        "one-leaf-wrong",
        "an object of one leaf with a wrong byte",
        {
            "root": merkle.root(pattern(5000)),
            "size": 5000,
            "chunks": [{"offset": 0, "size": 5000, "start": 0, "flip": 4999}],
        },
    ),
    (
        "node-as-leaf",
        "the two hashes below the root as an object of 64 bytes",
        {
            "root": merkle.root(pattern(2 * LEAF)),
            "size": 64,
            "chunks": [{"offset": 0, "bytes": b"".join(merkle.leaf_hashes(pattern(2 * LEAF))).hex()}],
        },
    ),
):
    tree.invalid(
        f"receive-{_slug}",
        "receive",
        "E_OBJ_HASH",
        "O-024",
        _why,
        **{"root": ROOT, "size": SIZE, "chunks": [LISTED, *LEAVES], **_fields},
    )
for _slug, _why, _chunks in (
    ("no-bytes", "a chunk without bytes", [{"offset": 0, "bytes": ""}]),
    ("beyond-the-end", "a chunk beyond the byte space", [{"offset": L + SIZE - 1, "bytes": "0000"}]),
    ("behind-the-end", "a chunk behind the byte space", [{"offset": L + SIZE, "bytes": "00"}]),
    ("far-away", "a chunk at the largest offset", [{"offset": 2**53 - 1, "bytes": "00"}]),
):
    tree.invalid(f"receive-{_slug}", "receive", "E_FLOW", "O-022", _why, root=ROOT, size=SIZE, chunks=_chunks)
tree.invalid(
    "receive-beyond-the-credit",
    "receive",
    "E_FLOW",
    "O-022",
    "a chunk behind the credit of one window",
    root=ROOT,
    size=2**24,
    chunks=[{"offset": LIMITS["credit_per_transfer_bytes"] + 5000, "bytes": "00"}],
)

# --- offers ---

offers = Family(
    "offers",
    "Offers of objects, what is wanted of one, and in which chunks it goes (chapter 9.2 and 9.3).",
    "`offers`: take OFFER messages in order; compare those that are put before the application and the "
    "answers that are sent at once. `send`: "
    "an offerer of an object of `size` bytes gets a WANT with these ranges and credit; compare the chunks, "
    "each offset and length, that it "
    "sends where a datagram takes at most `room` bytes. `ranks`: the offsets of the wanted bytes of these "
    "ranks.",
)


@offers.op(
    "offers",
    "OFFERs to what is offered and answered",
    takes=record(messages=array(HEX)),
    gives=record(offered=array(record(transfer=NUM, root=HEX, size=NUM, header=HEX)), answers=array(HEX)),
)
def _offers(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    highest, offered, answers = -1, [], []
    for message in given["messages"]:
        fields = ref_messages.decode_message("objects", bytes.fromhex(message))
        if fields["transfer"] <= highest:
            raise SpecError("E_PROTOCOL", "a number that is not higher (O-001)")
        highest = fields["transfer"]
        body = fields.get("body", b"" if not fields["size"] else None)
        if body is not None and len(body) != fields["size"]:
            raise SpecError("E_OBJ_SIZE", "an inline body of another length (O-005)")
        if body is not None and merkle.root(body) != fields["root"]:
            raise SpecError("E_OBJ_HASH", "an inline body of another root (O-005)")
        if fields["size"] > LIMITS["object_bytes"]:
            answers.append(
                ref_messages.encode_message(
                    "objects", "CANCEL", transfer=highest, code=ERRORS["E_OBJ_SIZE"], by_offerer=False
                )
            )
        elif len(offered) >= LIMITS["offers_queued"]:
            answers.append(
                ref_messages.encode_message(
                    "objects", "CANCEL", transfer=highest, code=ERRORS["E_BUSY"], by_offerer=False
                )
            )
        else:
            offered.append({name: fields[name] for name in ("transfer", "root", "size", "header")})
    return {}, {"offered": offered, "answers": answers}


@offers.op(
    "send",
    "a WANT to chunks",
    takes=record(size=NUM, want=HEX, room=NUM),
    mid=record(wanted=NUM, credit=NUM, byte_space=NUM),
    gives=record(chunks=array(pair(NUM, NUM))),
)
def _send(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    fields = ref_messages.decode_message("objects", bytes.fromhex(given["want"]))
    ranges, credit = fields["ranges"], fields["credit"]
    if fields["transfer"]:
        raise SpecError("drop", "a WANT for a transfer that is not known (O-019)")
    ref.check_want(ranges, given["size"])
    chunks: list[tuple[int, int]] = []
    rank = 0
    while (chunk := ref.chunk_at(ranges, rank, credit, given["size"], given["room"])) is not None:
        chunks.append(chunk)
        rank += chunk[1]
    space = merkle.list_bytes(given["size"]) + given["size"]
    return {"wanted": ref.wanted_bytes(ranges), "credit": credit, "byte_space": space}, {"chunks": chunks}


@offers.op(
    "ranks",
    "ranks to offsets",
    takes=record(ranges=array(NUM), ranks=array(NUM)),
    gives=record(wanted=NUM, offsets=array(NUM)),
)
def _ranks(given: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    return {}, {
        "wanted": ref.wanted_bytes(given["ranges"]),
        "offsets": [ref.offset_at(given["ranges"], rank) for rank in given["ranks"]],
    }


def offer(
    transfer: int, root: bytes = ROOT, size: int = SIZE, header: bytes = b"header", body: bytes | None = None
) -> bytes:
    """Return an OFFER."""
    return item({0: 1, 1: transfer, 2: root, 3: size, 4: header, **({} if body is None else {5: body})})


def want(ranges: list[int], credit: int) -> bytes:
    """Return a WANT for transfer 0."""
    return item({0: 2, 1: 0, 2: ranges, 3: credit})


SMALL = b"a small object"
offers.valid("offers-one", "offers", "O-001", messages=[offer(7)])
offers.valid(
    "offers-inline", "offers", "O-004 O-005", messages=[offer(0, merkle.root(SMALL), len(SMALL), b"h", SMALL)]
)
offers.valid(
    "offers-nothing",
    "offers",
    "O-005",
    "the empty object has one empty leaf",
    messages=[offer(0, merkle.root(b""), 0)],
)
offers.valid("offers-ascending", "offers", "O-001", messages=[offer(0), offer(1), offer(2**32 - 1)])
offers.valid(
    "offers-too-large",
    "offers",
    "O-006",
    "larger than object_bytes: answered, and the session goes on",
    (),
    {
        "messages[0][8:40]": "the root of what is not taken",
        "messages[0][42:46]": "any size above object_bytes",
        "messages[0][48:54]": "the header of what is not taken",
    },
    messages=[offer(3, size=LIMITS["object_bytes"] + 1)],
)
offers.valid(
    "send-all",
    "send",
    "O-013 O-018",
    "no chunk reaches over the end of the list",
    size=40000,
    want=want([0, L + 40000], L + 40000),
    room=15000,
)
offers.valid("send-within-credit", "send", "O-013", size=40000, want=want([0, L + 40000], 2000), room=1155)
offers.valid(
    "send-scattered",
    "send",
    "O-013 O-018",
    size=40000,
    want=want([0, L, L + LEAF, L + 40000], 5000),
    room=1155,
)
offers.valid(
    "send-nothing-without-credit",
    "send",
    "O-013",
    "",
    (),
    {"room": "nothing is sent", "want[4:5]": "a WANT for another transfer has no effect either"},
    size=40000,
    want=want([0, 100], 0),
    room=1155,
)
offers.valid("ranks-example", "ranks", "O-013", ranges=[0, 96, 16480, 40096], ranks=[0, 95, 96, 1000, 23711])
for _slug, _code, _rules, _why, _messages in (
    ("same-number", "E_PROTOCOL", "O-001", "a number for the second time", [offer(5), offer(5)]),
    ("lower-number", "E_PROTOCOL", "O-001", "a number below one before", [offer(5), offer(4)]),
    (
        "number-of-a-refused-one",
        "E_PROTOCOL",
        "O-001 O-006",
        "the number of an offer that was answered at once",
        [offer(5, size=LIMITS["object_bytes"] + 1), offer(5)],
    ),
    (
        "inline-short",
        "E_OBJ_SIZE",
        "O-005",
        "an inline body shorter than the size",
        [offer(0, merkle.root(SMALL), len(SMALL) + 1, b"", SMALL)],
    ),
    (
        "inline-long",
        "E_OBJ_SIZE",
        "O-005",
        "an inline body longer than the size",
        [offer(0, merkle.root(SMALL), len(SMALL) - 1, b"", SMALL)],
    ),
    (
        "inline-of-a-large-one",
        "E_OBJ_SIZE",
        "O-005",
        "the first bytes of a large object as an inline body",
        [offer(0, body=BODY[:4096])],
    ),
    (
        "inline-size-0",
        "E_OBJ_SIZE",
        "O-005",
        "an inline body for size 0",
        [offer(0, merkle.root(SMALL), 0, b"", SMALL)],
    ),
    (
        "inline-other-root",
        "E_OBJ_HASH",
        "O-005",
        "an inline body of another root",
        [offer(0, ROOT, len(SMALL), b"", SMALL)],
    ),
    (
        "inline-changed",
        "E_OBJ_HASH",
        "O-005",
        "a byte of the inline body is wrong",
        [offer(0, merkle.root(SMALL), len(SMALL), b"", flip(SMALL, 3))],
    ),
    ("nothing-other-root", "E_OBJ_HASH", "O-005", "the empty object under another root", [offer(0, ROOT, 0)]),
    (
        "nothing-sha-of-nothing",
        "E_OBJ_HASH",
        "O-005",
        "the hash of no bytes is not the root of the empty object",
        [offer(0, sha256(b""), 0)],
    ),
):
    offers.invalid(f"offers-{_slug}", "offers", _code, _rules, _why, messages=_messages)
for _slug, _why, _size, _ranges in (
    ("beyond", "one byte beyond the byte space", 40000, [0, L + 40001]),
    ("far-beyond", "the largest offset", 40000, [0, 2**64 - 1]),
    ("list-of-one-leaf", "an object of one leaf has no list", 5000, [0, 5001]),
):
    offers.invalid(
        f"send-{_slug}", "send", "E_OBJ_SIZE", "O-014", _why, size=_size, want=want(_ranges, 100), room=1155
    )

FAMILIES = (tree, offers)

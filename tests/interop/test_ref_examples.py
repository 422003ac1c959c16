"""The second implementation computes the worked examples of the chapters, from the inputs that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ref import (
    SpecError,
    cbor,
    frames,
    handshake,
    identity,
    manifest,
    merkle,
    messages,
    noise,
    objects,
    packets,
)
from ref import statements as told
from ref.primitives import x25519_public

CHAPTERS = Path(__file__).resolve().parents[2] / "spec"
BLOCK = re.compile(r"^```(?:example|vector) (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MESSAGE_BLOCKS = {
    "object-messages": "objects",
    "manifest-handshake": "manifest",
    "manifest-fetch": "fetch",
    "peer-record": "membership",
    "fingerprint": "fingerprint",
    "exchange": "exchange",
}


def examples() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for path in sorted(CHAPTERS.glob("*.md")):
        for name, body in BLOCK.findall(path.read_text(encoding="utf-8")):
            rows, last = found.setdefault(name, {}), ""
            for line in body.splitlines():
                if line.startswith("    "):
                    rows[last] += line.strip()
                else:
                    last, _, value = (part.strip() for part in line.partition("="))
                    rows[last] = value
    return found


EXAMPLES = examples()
SENT = [
    (channel, name, bytes.fromhex(value))
    for block, channel in MESSAGE_BLOCKS.items()
    for name, value in EXAMPLES[block].items()
    if name.split("_")[0] in messages.KINDS[channel].values()
]


def bytes_of(block: str, name: str) -> bytes:
    value = EXAMPLES[block][name]
    return b"" if value == "(empty)" else bytes.fromhex(value)


@pytest.mark.parametrize("data", EXAMPLES["accepted"])
def test_cbor_accepted(data):
    assert cbor.encode(cbor.decode(bytes.fromhex(data))).hex() == data


@pytest.mark.parametrize(("data", "comment"), EXAMPLES["refused"].items())
def test_cbor_refused(data, comment):
    with pytest.raises(SpecError) as caught:
        cbor.decode(bytes.fromhex(data))
    assert caught.value.code == comment.split()[0]


def test_signature_and_envelope():
    shown = EXAMPLES["signature"]
    seed = bytes_of("signature", "seed")
    signed = identity.signed_bytes(shown["domain"], bytes_of("signature", "message"))
    assert identity.peer_id(seed).hex() == shown["peer id"]
    assert identity.sign(seed, signed).hex() == shown["signature"]
    shown, payload = EXAMPLES["envelope"], bytes_of("envelope", "payload")
    assert identity.sig_structure(shown["domain"], payload).hex() == shown["signed"]
    assert identity.sign_envelope(seed, shown["domain"], payload).hex() == shown["envelope"]
    assert identity.decode_envelope(bytes_of("envelope", "envelope"), 512)[0] == payload


def test_keys_of_a_swarm():
    shown, secret = EXAMPLES["keys"], bytes_of("keys", "join secret")
    member = manifest.member_keys(bytes_of("keys", "manifest"), secret)
    assert member.swarm_id.hex() == shown["member swarm id"]
    for mode, keys in {
        "member": member,
        "fetch": manifest.fetch_keys(member.swarm_id, secret),
        "service": manifest.service_keys(bytes_of("keys", "service peer id")),
    }.items():
        assert [keys.root.hex(), keys.psk.hex(), keys.mac1_key.hex()] == [
            shown[f"{mode} {name}"] for name in ("root", "psk", "mac1 key")
        ]


def test_handshake_cookie_and_versions():
    shown, texts, long = (
        EXAMPLES[f"{name}"] for name in ("handshake-keys", "handshake-messages", "long-packets")
    )
    key = {name: bytes.fromhex(value) for name, value in shown.items() if re.fullmatch(r"[0-9a-f]+", value)}
    keys = manifest.member_keys(key["manifest_bytes"])
    prologue = handshake.prologue(1, keys.swarm_id, manifest.MEMBER, [1])
    assert prologue.hex() == shown["prologue"]
    sides = [
        noise.start(initiator=first, prologue=prologue, psk=keys.psk, static=key[f"{role}_static_private"])
        for first, role in ((True, "initiator"), (False, "responder"))
    ]
    ephemeral = [key["initiator_ephemeral_private"], key["responder_ephemeral_private"], b""]
    written = []
    for number in range(3):
        writer, reader = number % 2, 1 - number % 2
        sides[writer], tokens = noise.write_tokens(sides[writer], ephemeral[number])
        payload = b""
        if number:
            h, static, first = sides[writer].h, x25519_public(sides[writer].s), writer == 0
            assert h.hex() == texts[f"h_in_message_{number + 1}"]
            signed = handshake.identity_signed(initiator=first, h=h, static=static)
            assert signed.hex() == texts[f"signed_in_message_{number + 1}"]
            payload = bytes.fromhex(texts[f"payload_{number + 1}"])
            fields = handshake.decode_payload(payload, initiator=first, h=h, static=static)
            seed = key[f"{'initiator' if first else 'responder'}_ed25519_private"]
            rest = {name: value for name, value in fields.items() if name not in ("peer", "signature")}
            again = handshake.encode_payload(
                seed, identity.peer_id(seed), rest, initiator=first, h=h, static=static
            )
            assert again == payload
        sides[writer], sealed = noise.write_payload(sides[writer], payload)
        written.append(tokens + sealed)
        assert written[-1].hex() == texts[f"message_{number + 1}"]
        sides[reader], left = noise.read_tokens(sides[reader], written[-1])
        sides[reader], read = noise.read_payload(sides[reader], left)
        assert read == payload
    assert sides[0].h == sides[1].h == bytes.fromhex(texts["h_of_the_session"])
    assert [each.hex() for each in noise.split(sides[0])] == [texts["initiator_key"], texts["responder_key"]]
    assert noise.split(sides[0]) == noise.split(sides[1])

    ids = {name: bytes.fromhex(long[name]) for name in long if "id" in name.split("_")}
    source, other = ids["initiator_connection_id"], ids["responder_connection_id"]
    init = handshake.encode_init(keys, [1], ids["destination_id_of_INIT"], source, written[0])
    assert init.hex() == long["INIT_without_padding"].ljust(2400, "0")
    assert handshake.decode_init(init)["message"] == written[0]
    assert handshake.encode_answer(handshake.RESP, source, other, written[1]).hex() == long["RESP"]
    assert handshake.encode_answer(handshake.FIN, other, source, written[2]).hex() == long["FIN"]

    cookie, nonce = bytes_of("cookie", "cookie"), bytes_of("cookie", "nonce")
    packet = handshake.encode_cookie(keys, init, nonce, cookie)
    assert packet.hex() == EXAMPLES["cookie"]["COOKIE"]
    assert handshake.open_cookie(keys, init, packet) == cookie
    assert handshake.mac2(cookie, init).hex() == EXAMPLES["cookie"]["mac2"]
    listed = [3, int(EXAMPLES["version-negotiation"]["GREASE_version"], 16)]
    assert handshake.encode_verneg(init, listed).hex() == EXAMPLES["version-negotiation"]["VERNEG"]


def test_short_packets():
    shown, key = EXAMPLES["short-packets"], bytes_of("short-packets", "key")
    destination = bytes_of("short-packets", "connection_id")
    header = packets.frames_header(destination, 258)
    assert packets.seal_packet(key, header, b"\x01").hex() == shown["frame_packet"]
    header = packets.bulk_header(destination, 259, 7, 32768)
    assert packets.seal_packet(key, header, bytes_of("short-packets", "chunk")).hex() == shown["bulk_packet"]
    opened = packets.open_packet(key, bytes_of("short-packets", "bulk_packet"))
    assert (opened["transfer"], opened["offset"]) == (7, 32768)


def test_key_phases_and_exchanges_of_secrets():
    shown, key = EXAMPLES["key-phases"], bytes_of("key-phases", "k_0")
    assert packets.rekey(key).hex() == shown["k_1"]
    assert packets.rekey(packets.rekey(key)).hex() == shown["k_2"]
    secret, h = bytes_of("key-phases", "secret"), bytes_of("key-phases", "h")
    assert packets.mix_secret(key, secret, h, 1).hex() == shown["k_1_with_an_ML_KEM_768_secret"]
    assert packets.mix_secret(key, secret, h, 2).hex() == shown["k_1_with_an_X25519_secret"]
    shown = EXAMPLES["key-exchange"]
    mine, theirs = (bytes_of("key-exchange", f"X25519_private_of_{kind}") for kind in ("OFFER", "REPLY"))
    offer = packets.exchange_offer(packets.X25519, mine)
    assert messages.encode_message("session", "OFFER", method=2, value=offer).hex() == shown["X25519_OFFER"]
    reply, secret = packets.exchange_reply(packets.X25519, offer, theirs)
    assert messages.encode_message("session", "REPLY", method=2, value=reply).hex() == shown["X25519_REPLY"]
    assert packets.exchange_secret(packets.X25519, mine, reply) == secret
    assert secret.hex() == shown["X25519_secret"]


@pytest.mark.skipif(not packets.has_ml_kem(), reason="the cryptographic library has no ML-KEM")
def test_the_exchange_with_ml_kem():
    shown, seed = EXAMPLES["key-exchange"], bytes_of("key-exchange", "ML_KEM_768_seed_d_z")
    offer = packets.exchange_offer(packets.ML_KEM_768, seed)
    message = messages.encode_message("session", "OFFER", method=1, value=offer)
    assert message.hex().startswith(shown["ML_KEM_768_OFFER_begins"])
    secret = packets.exchange_secret(packets.ML_KEM_768, seed, b"\x5a" * 1088)
    assert secret.hex() == shown["secret_of_a_ciphertext_of_1088_bytes_0x5a"]


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ("ack-frame", "frame"),
        *(("small-frames", name) for name in EXAMPLES["small-frames"] if name != "message_on_channel_0"),
    ],
)
def test_frames(block, name):
    data = bytes_of(block, name)
    assert frames.encode_frames(frames.decode_frames(data)) == data


def test_the_ack_says_what_was_received():
    (ack,) = frames.decode_frames(bytes_of("ack-frame", "frame"))
    assert ack == {"type": "ACK", "delay": 500, "ranges": [(8, 10), (5, 5), (0, 2)]}


@pytest.mark.parametrize(
    ("channel", "name", "data"), SENT, ids=[f"{channel}-{name}" for channel, name, _ in SENT]
)
def test_messages(channel, name, data):
    fields = messages.decode_message(channel, data)
    assert fields.pop("name") == name.split("_")[0]
    assert messages.encode_message(channel, name.split("_")[0], **fields) == data


def test_hash_tree_and_ranks():
    shown, data = EXAMPLES["merkle-tree"], bytes(index % 251 for index in range(40000))
    assert merkle.root(data).hex() == shown["root"]
    assert [leaf.hex() for leaf in merkle.leaf_hashes(data)] == [shown[f"leaf_{index}"] for index in range(3)]
    assert merkle.list_bytes(len(data)) == int(shown["leaf_list_bytes"])
    assert len(merkle.byte_space(data)) == int(shown["byte_space"])
    assert merkle.root(b"").hex() == shown["empty_object_root"]
    assert merkle.root(b"abc").hex() == shown["root_of_the_3_bytes_abc"]
    shown, ranges = EXAMPLES["wanted-ranks"], [0, 96, 16480, 40096]
    assert objects.wanted_bytes(ranges) == int(shown["wanted_bytes"])
    for rank in (95, 96, 1000):
        offset = int(shown[f"byte_at_rank_{rank}"])
        assert objects.offset_at(ranges, rank) == offset
        assert objects.rank_of(ranges, offset, 1) == rank


def test_peer_record():
    shown, root = EXAMPLES["peer-record"], bytes_of("peer-record", "root_key")
    fields = messages.decode_map("peer-record", bytes_of("peer-record", "payload"))
    assert (
        told.sign_statement(bytes_of("peer-record", "seed"), "peer-record", fields).hex() == shown["record"]
    )
    assert manifest.swarm_tag(root, fields["peer"]).hex() == shown["swarm_tag"]
    assert told.believe_record(bytes_of("peer-record", "record"), root, fields["issued"])["seq"] == int(
        shown["seq"]
    )


def test_update_header():
    header = bytes_of("update-header", "header")
    fields = messages.decode_map("update", bytes_of("update-header", "payload"))
    assert told.sign_statement(bytes_of("update-header", "seed"), "update", fields) == header
    judged = told.judge_header(header, fields["swarm_id"], fields["author"], fields["root"], fields["size"])
    assert judged == fields


@pytest.mark.parametrize(
    "position", [name for name in EXAMPLES["round-window"] if name.startswith("incarnation_")]
)
def test_round_window(position):
    shown = {name: value for name, value in EXAMPLES["round-window"].items() if value.isdigit()}
    memory = {
        "last": (int(shown["last_incarnation"]), int(shown["last_round"])),
        "newest": (int(shown["newest_incarnation"]), int(shown["newest_round"])),
        "own_rounds": int(shown["own_rounds_since_newest"]),
        "seconds": int(shown["seconds_since_newest"]),
        "this_session": True,
    }
    _, incarnation, _, number = position.split("_")
    verdict = told.round_verdict((int(incarnation), int(number)), memory)
    assert verdict == EXAMPLES["round-window"][position]


def test_stateless_reset():
    shown = EXAMPLES["stateless-reset"]
    key = manifest.reset_key(
        bytes_of("stateless-reset", "ed25519_private"), bytes_of("stateless-reset", "swarm_id")
    )
    assert key.hex() == shown["reset_key"]
    assert manifest.reset_token(key, bytes_of("stateless-reset", "connection_id")).hex() == shown["token"]
    (frame,) = frames.decode_frames(bytes_of("stateless-reset", "NEW_CID_1"))
    assert frame["token"].hex() == shown["token"]

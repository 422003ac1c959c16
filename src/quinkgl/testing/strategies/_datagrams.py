"""Hypothesis strategies for frames, packets and datagrams, from the registries' layouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from quinkgl.testing.strategies._values import byte_strings, integers, texts
from quinkgl.wire.errors import ErrorCode
from quinkgl.wire.limits import CONSTANTS, HARD, LIMITS
from quinkgl.wire.packets import (
    CONNECTION_ID_BYTES,
    COOKIE_NONCE_BYTES,
    GREASE_MASK,
    KEY_PHASE_BIT,
    MAC_BYTES,
    MAX_VERSIONS,
    SEALED_COOKIE_BYTES,
    TAG_BYTES,
    VERSION,
    LongType,
    encode_cookie,
    encode_init,
    encode_long,
    encode_version_negotiation,
    grease_version,
)
from quinkgl.wire.spec_data import load

_MOST_DATA = 1200
"""Bytes that a variable part of one frame gets at most: as many as fit a packet on any path."""
_MOST_FRAMES = 6
_U16 = 2


@dataclass(frozen=True, slots=True)
class InvalidFrames:
    """A packet's content that a receiver has to refuse, the code it closes with, and why."""

    data: bytes
    code: ErrorCode
    reason: str


# --- layouts ---


@dataclass(frozen=True, slots=True)
class _Number:
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class _Fixed:
    size: int


@dataclass(frozen=True, slots=True)
class _Counted:
    """Bytes, as many as the number before them says."""

    is_text: bool
    most: int


@dataclass(frozen=True, slots=True)
class _Repeated:
    """Numbers that are there as often as the field ``count`` says."""

    fields: tuple[_Number, ...]
    count: str


_Part = _Number | _Fixed | _Counted | _Repeated
_PART = re.compile(r"(?:\[([^]]*)\] \* (\w+)|[^,([]+(?:\([^)]*\))?)(?:, |$)")


def _part(text: str, group: str | None, count: str | None) -> _Part:
    if group is not None and count is not None:
        return _Repeated(tuple(_number(each) for each in group.split(", ")), count)
    plain, _, note = text.strip(" ,").partition("(")
    plain = plain.strip()
    if re.search(r" u[0-9]+$", plain):
        return _number(plain)
    fixed = re.fullmatch(r".* ([0-9]+) bytes", plain)
    if fixed:
        return _Fixed(int(fixed[1]))
    if plain not in {"bytes", "packet", "reason"}:
        raise ValueError(f"registries/frames.toml: a part of a layout that nobody can read: {text!r}")
    most = re.search(r"at most ([0-9]+) bytes", note)
    return _Counted("UTF-8" in note, int(most[1]) if most else _MOST_DATA)


def _number(text: str) -> _Number:
    name, _, bits = text.rpartition(" u")
    return _Number(name, int(bits) // 8)


@cache
def frame_layouts() -> dict[str, tuple[int, tuple[_Part, ...]]]:
    """Return type code and parts of every frame type in use."""
    made: dict[str, tuple[int, tuple[_Part, ...]]] = {}
    for name, entry in load("registries/frames").items():
        if entry.get("status") == "reserved":
            continue
        layout: str = entry["layout"]
        parts: tuple[_Part, ...] = ()
        same = re.match(r"as (\w+), then ", layout)
        if same:
            parts, layout = made[same[1]][1], layout[same.end() :]
        if layout != "type alone":
            parts += tuple(_part(match[0], match[1], match[2]) for match in _PART.finditer(layout))
        made[name] = (entry["code"], parts)
    return made


# --- frames ---


def _written(values: list[tuple[_Part, Any]]) -> bytes:
    out = bytearray()
    for part, value in values:
        if isinstance(part, _Number):
            out += value.to_bytes(part.size, "big")
        elif isinstance(part, _Repeated):
            for row in value:
                for field, number in zip(part.fields, row, strict=True):
                    out += number.to_bytes(field.size, "big")
        else:
            out += value
    return bytes(out)


@st.composite
def _by_layout(draw: st.DrawFn, name: str) -> bytes:
    """Draw the parts of a frame; what a length or a count says is what is there."""
    code, parts = frame_layouts()[name]
    values: list[tuple[_Part, Any]] = []
    for part in parts:
        match part:
            case _Number(_, size):
                values.append((part, draw(integers(0, (1 << 8 * size) - 1))))
            case _Fixed(size):
                values.append((part, draw(byte_strings(size, size))))
            case _Counted(is_text, most):
                body = draw(texts(0, most)).encode() if is_text else draw(byte_strings(0, most))
                values[-1] = (values[-1][0], len(body))
                values.append((part, body))
            case _Repeated(fields, count):
                row = st.tuples(*(integers(0, (1 << 8 * field.size) - 1) for field in fields))
                rows = draw(st.lists(row, max_size=8))
                values = [(each, len(rows) if _is_named(each, count) else value) for each, value in values]
                values.append((part, rows))
    return bytes([code]) + _written(_above_zero(values))


def _is_named(part: _Part, name: str) -> bool:
    return isinstance(part, _Number) and part.name == name


def _above_zero(values: list[tuple[_Part, Any]]) -> list[tuple[_Part, Any]]:
    """Raise an ACK's largest number until its lowest range ends at 0 or above (chapter 7)."""
    by_name = {part.name: value for part, value in values if isinstance(part, _Number)}
    rows = [row for part, value in values if isinstance(part, _Repeated) for row in value]
    if "largest" not in by_name:
        return values
    least = by_name["first"] + sum(gap + 2 + length for gap, length in rows)
    return [(part, max(value, least) if _is_named(part, "largest") else value) for part, value in values]


def _grease_codes() -> list[int]:
    return list(range(CONSTANTS.grease_base, 0x100, CONSTANTS.grease_step))


@st.composite
def grease_frames(draw: st.DrawFn) -> bytes:
    """Frames of types that mean nothing: a receiver skips them."""
    body = draw(byte_strings(0, 64))
    return bytes([draw(st.sampled_from(_grease_codes()))]) + len(body).to_bytes(_U16, "big") + body


@st.composite
def frames(draw: st.DrawFn, name: str | None = None) -> bytes:
    """One valid frame: of any type in use or GREASE, or of one by its name in the registry (``"ACK"``)."""
    kinds: list[st.SearchStrategy[bytes]] = [_by_layout(each) for each in frame_layouts()]
    return draw(st.one_of([*kinds, grease_frames()]) if name is None else _by_layout(name))


@st.composite
def frame_payloads(draw: st.DrawFn) -> bytes:
    """What a frame packet carries: some valid frames, one behind the other."""
    return b"".join(draw(st.lists(frames(), min_size=1, max_size=_MOST_FRAMES)))


@st.composite
def invalid_frame_payloads(draw: st.DrawFn) -> InvalidFrames:
    """Contents of a frame packet with one fault."""
    before = draw(st.lists(frames(), max_size=2).map(b"".join))
    known = {code for code, _ in frame_layouts().values()} | set(_grease_codes())
    unknown = draw(st.sampled_from([code for code in range(0x100) if code not in known]))
    cut = draw(frames().filter(lambda each: len(each) > 1 and each[0] != 0))
    cut = cut[: draw(st.integers(1, len(cut) - 1))]
    ack = bytes([frame_layouts()["ACK"][0]])
    low = draw(st.integers(0, 8))
    below = ack + low.to_bytes(8, "big") + bytes(2) + b"\0" + (low + 1).to_bytes(4, "big")
    many = (
        ack
        + (1 << 40).to_bytes(8, "big")
        + bytes(2)
        + bytes([HARD.ack_ranges])
        + bytes(4 + 8 * HARD.ack_ranges)
    )
    close = bytes([frame_layouts()["CLOSE"][0], 0, 0, LIMITS.reason_bytes + 1]) + bytes(
        LIMITS.reason_bytes + 1
    )
    faults = [
        (unknown.to_bytes(1, "big") + bytes(64), ErrorCode.E_FRAME_UNKNOWN, "a type that is not in use"),
        (cut, ErrorCode.E_FRAME_FORMAT, "a frame that is cut short"),
        (below, ErrorCode.E_FRAME_FORMAT, "an ACK below packet number 0"),
        (many, ErrorCode.E_FRAME_FORMAT, "an ACK of too many ranges"),
        (close, ErrorCode.E_FRAME_FORMAT, "a CLOSE whose reason is too long"),
    ]
    data, code, reason = draw(st.sampled_from(faults))
    if not before and draw(st.booleans()):
        return InvalidFrames(b"", ErrorCode.E_FRAME_FORMAT, "no frame at all")
    return InvalidFrames(before + data, code, reason)


# --- datagrams ---

_IDS = st.binary(min_size=CONNECTION_ID_BYTES, max_size=CONNECTION_ID_BYTES)
_GREASE_VERSIONS = st.integers(0, 0xFFFF).map(grease_version)


@st.composite
def _inits(draw: st.DrawFn) -> bytes:
    versions = draw(st.lists(_GREASE_VERSIONS, max_size=MAX_VERSIONS - 1))
    versions.insert(draw(st.integers(0, len(versions))), VERSION)
    head, tail = encode_init(
        version=VERSION,
        destination_id=draw(_IDS),
        source_id=draw(_IDS),
        versions=tuple(versions),
        noise=draw(byte_strings(0, 256)),
    )
    mac = st.binary(min_size=MAC_BYTES, max_size=MAC_BYTES)
    return head + draw(mac) + draw(mac | st.just(bytes(MAC_BYTES))) + tail


@st.composite
def _answers(draw: st.DrawFn, type_: LongType) -> bytes:
    noise = draw(byte_strings(0, 1100))
    return encode_long(type_, version=VERSION, destination_id=draw(_IDS), source_id=draw(_IDS), noise=noise)


@st.composite
def _cookies(draw: st.DrawFn) -> bytes:
    return encode_cookie(
        version=VERSION,
        destination_id=draw(_IDS),
        nonce=draw(byte_strings(COOKIE_NONCE_BYTES, COOKIE_NONCE_BYTES)),
        sealed=draw(byte_strings(SEALED_COOKIE_BYTES, SEALED_COOKIE_BYTES)),
    )


@st.composite
def _version_lists(draw: st.DrawFn) -> bytes:
    versions = draw(st.lists(_GREASE_VERSIONS | st.integers(1, 9), min_size=1, max_size=MAX_VERSIONS))
    return encode_version_negotiation(
        destination_id=draw(_IDS), source_id=draw(_IDS), versions=tuple(versions)
    )


@st.composite
def _shorts(draw: st.DrawFn, name: str) -> bytes:
    entry = load("registries/packets")[name]
    first = (
        0x40
        | entry["code"] << 4
        | draw(st.sampled_from([0, KEY_PHASE_BIT]))
        | draw(st.integers(0, GREASE_MASK))
    )
    number = draw(integers(0, (1 << 64) - 1)).to_bytes(CONSTANTS.packet_number_bytes, "big")
    bulk = draw(byte_strings(12, 12)) if name == "BULK" else b""
    return bytes([first]) + draw(_IDS) + number + bulk + draw(byte_strings(TAG_BYTES, _MOST_DATA))


def _kinds_of_datagram() -> dict[str, st.SearchStrategy[bytes]]:
    return {
        "INIT": _inits(),
        "RESP": _answers(LongType.RESP),
        "FIN": _answers(LongType.FIN),
        "COOKIE": _cookies(),
        "VERNEG": _version_lists(),
        "FRAMES": _shorts("FRAMES"),
        "BULK": _shorts("BULK"),
    }


@st.composite
def datagrams(draw: st.DrawFn, name: str | None = None) -> bytes:
    """One datagram in the layout of a packet type, any or one by name (``"INIT"``).

    Nobody has sealed or signed what it holds: a receiver reads its header, finds no key that opens it, and
    drops it without a word.
    """
    kinds = _kinds_of_datagram()
    if name is not None and name not in kinds:
        raise ValueError(f"there is no packet type {name}, only {', '.join(kinds)}")
    return draw(st.one_of([*kinds.values()]) if name is None else kinds[name])


@st.composite
def mangled(draw: st.DrawFn, original: st.SearchStrategy[bytes]) -> bytes:
    """What one accident leaves of ``original``: bits flipped, cut, grown, a part gone, twice, or zero."""
    data = draw(original)
    at = draw(st.integers(0, max(0, len(data) - 1)))
    end = min(len(data), at + draw(st.integers(1, 16)))
    rest = draw(st.binary(min_size=1, max_size=16))
    flipped = bytearray(data)
    for index in range(at, end):
        flipped[index] ^= rest[(index - at) % len(rest)] or 1
    return draw(
        st.sampled_from(
            [
                bytes(flipped),
                data[:at],
                data + rest,
                data[:at] + data[end:],
                data[:at] + data[at:end] + data[at:],
                data[:at] + bytes(end - at) + data[end:],
                data[:at] + rest + data[at:],
            ]
        )
    )


__all__ = [
    "InvalidFrames",
    "datagrams",
    "frame_layouts",
    "frame_payloads",
    "frames",
    "grease_frames",
    "invalid_frame_payloads",
    "mangled",
]

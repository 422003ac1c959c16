"""The manifest handshake, and fetching a manifest (chapter 4b)."""

from typing import Any

from .data import CONSTANTS, ERROR_NAMES, ERRORS, LIMITS, SpecError, need
from .machines import machine
from .messages import decode_message, encode_message
from .primitives import sha256

MACHINE = machine("manifest-handshake")
PIECE: int = CONSTANTS["manifest_piece_bytes"]
CODES = {
    "swarm_id": "E_MAN_UNKNOWN",
    "schema_version": "E_MAN_VERSION",
    "arch_hash": "E_MAN_ARCH",
    "input_shape": "E_MAN_SHAPE",
    "output_shape": "E_MAN_SHAPE",
    "aggregation": "E_MAN_TERMS",
    "topology": "E_MAN_TERMS",
    "compression_enabled": "E_MAN_TERMS",
    "byzantine_f": "E_MAN_TERMS",
    "expires_unix": "E_MAN_TERMS",
}


def objection(own: dict[str, Any], theirs: dict[str, Any], wall: float) -> tuple[str, str] | None:
    """The first term that differs and its code, or None where a HELLO fits (H-010, H-011)."""
    for term, code in CODES.items():
        if own.get(term) != theirs.get(term):
            return term, code
    if own.get("expires_unix") is not None and wall >= own["expires_unix"]:
        return "expires_unix", "E_MAN_EXPIRED"
    return None


class Agreement:
    """One side of the manifest handshake; `state` ends in AGREED, or in REFUSED with a `code`."""

    def __init__(self, own: dict[str, Any], now: float) -> None:
        """`own` are the fields of this side's HELLO."""
        self.own, self.state, self.code, self.theirs = own, "WAIT_HELLO", "", dict[str, Any]()
        self.until = now + LIMITS["manifest_handshake_timeout_s"]
        self.out = [encode_message("manifest", "HELLO", **own)]

    def receive(self, message: bytes, wall: float) -> None:
        """Take one message of channel 1."""
        try:
            fields = decode_message("manifest", message)
            if fields["name"] == "HELLO":
                echo = fields["initiator"] == self.own["initiator"]
                need(not echo, "E_PROTOCOL", "a HELLO that is an echo of ours (H-005)")
        except SpecError as error:
            self.step("BREACH", error.code)
            return
        if fields["name"] == "HELLO":
            self.theirs = self.theirs or fields
            wrong = objection(self.own, fields, wall)
            self.step("HELLO_DIFFERS" if wrong else "HELLO_FITS", *reversed(wrong or ()))
        elif fields["name"] == "REFUSE":
            self.step("REFUSE", ERROR_NAMES.get(fields["code"], "E_PROTOCOL"))
        elif fields["name"] == "AGREE":
            self.step("AGREE")

    def poll(self, now: float) -> None:
        """The time-out (H-020)."""
        if now >= self.until:
            self.step("TIMEOUT", "E_MAN_TIMEOUT")

    def step(self, event: str, code: str = "", term: str = "") -> None:
        """One cell of the table of 4b.4."""
        actions, self.state = MACHINE[self.state][event]
        if "send AGREE" in actions:
            self.out.append(encode_message("manifest", "AGREE"))
        if "send REFUSE" in actions:
            self.out.append(encode_message("manifest", "REFUSE", code=ERRORS[code], term=term, reason=""))
        if "protocol error" in actions:
            code = code if event == "BREACH" else "E_PROTOCOL"
        if self.state == "REFUSED" and not self.code:
            self.code = code


class Source:
    """Serves one manifest in one session (H-034)."""

    def __init__(self, swarm_id: bytes, manifest_bytes: bytes, signature: bytes | None) -> None:
        """`signature` is the creator's, where there is one."""
        self.swarm_id, self.data, self.signature, self.sent = swarm_id, manifest_bytes, signature, 0

    def answer(self, message: bytes) -> tuple[bytes, str]:
        """The answer to one message, and a code where the session ends after it."""
        fields = decode_message("fetch", message)
        if not fields["name"]:
            return b"", ""
        need(fields["name"] == "GET", "E_PROTOCOL", "a message that a source does not expect")
        if fields["swarm_id"] != self.swarm_id:
            code = "E_MAN_UNKNOWN"
            return encode_message("fetch", "REFUSE", code=ERRORS[code], term="", reason=""), code
        offset = fields["offset"]
        need(
            offset == self.sent < len(self.data), "E_PROTOCOL", "a GET that does not follow on what was sent"
        )
        piece = self.data[offset : offset + PIECE]
        self.sent += len(piece)
        more = {} if offset or self.signature is None else {"signature": self.signature}
        return encode_message("fetch", "PIECE", offset=offset, total=len(self.data), data=piece, **more), ""


class Fetcher:
    """Fetches the manifest of a swarm id; `whole` is its bytes once their hash is right."""

    def __init__(self, swarm_id: bytes) -> None:
        """The swarm id of a link."""
        self.swarm_id, self.data, self.total = swarm_id, b"", 0
        self.signature: bytes | None = None
        self.whole = b""

    def get(self) -> bytes:
        """The next GET."""
        return encode_message("fetch", "GET", swarm_id=self.swarm_id, offset=len(self.data))

    def take(self, message: bytes) -> bytes:
        """Take one answer; returns the next GET, or nothing at the end (H-031 to H-033, H-038)."""
        fields = decode_message("fetch", message)
        if not fields["name"]:
            return b""
        if fields["name"] == "REFUSE":
            raise SpecError(ERROR_NAMES.get(fields["code"], "E_PROTOCOL"), "the source refuses")
        need(
            fields["name"] == "PIECE" and not self.whole,
            "E_PROTOCOL",
            "a message that a fetcher does not expect",
        )
        need(fields["total"] <= LIMITS["manifest_bytes"], "E_TOO_BIG", "a manifest that is too large")
        need(fields["offset"] == len(self.data), "E_PROTOCOL", "a piece that was not asked for")
        need(self.total in (0, fields["total"]), "E_PROTOCOL", "another total than before")
        self.total, self.signature = fields["total"], fields.get("signature", self.signature)
        exact = len(fields["data"]) == min(PIECE, self.total - len(self.data))
        need(exact, "E_PROTOCOL", "a piece of another size (H-032)")
        self.data += fields["data"]
        if len(self.data) < self.total:
            return self.get()
        need(sha256(self.data) == self.swarm_id, "E_MAN_HASH", "not the manifest of this swarm id")
        self.whole = self.data
        return b""

"""Two-sided exchanges (chapter 11b): one exchange is one walk through one of the two tables of 11b.5."""

from dataclasses import dataclass, field
from typing import Any

from .data import ERRORS
from .machines import machine
from .messages import encode_message

INITIATOR, RESPONDER = machine("exchange-initiator"), machine("exchange-responder")


@dataclass
class Exchange:
    """One exchange with one peer. `out` are messages to send, `wants` what the node is asked to do."""

    initiator: bool
    name: bytes
    offer: dict[str, Any]
    own: bytes = b""
    theirs: bytes | None = None
    answer: bytes = b""
    expected: tuple[bytes, int] = (b"", 0)
    state: str = ""
    out: list[bytes] = field(default_factory=list)
    wants: list[str] = field(default_factory=list)
    code: str = ""
    metadata: dict[int, Any] = field(default_factory=dict)
    own_root: bytes = b""

    def __post_init__(self) -> None:
        self.state = self.state or ("OFFERED" if self.initiator else "ASKED")

    def step(self, event: str, code: str = "") -> None:
        """One cell of the table; `code` is that of an ABORT, said or heard."""
        actions, following = (INITIATOR if self.initiator else RESPONDER)[self.state][event]
        for action in actions:
            verb, _, what = action.partition(" ")
            if verb == "say":
                self.out.append(self.message(what, code))
            elif action == "protocol error":
                self.code = "E_PROTOCOL"
            else:
                self.wants.append(action)
        if "abort" in " ".join(actions):
            self.code = code
        self.state = following

    def message(self, name: str, code: str = "") -> bytes:
        """One of its messages."""
        if name == "OFFER":
            return encode_message("exchange", name, **self.offer)
        fields: dict[str, Any] = {"exchange": self.name, "answer": self.answer or None}
        if name == "ACCEPT":
            fields |= {"root": self.own_root, "size": len(self.own), "metadata": self.metadata}
        if name == "ABORT":
            fields["code"] = ERRORS[code or "NOT_WANTED"]
        return encode_message("exchange", name, **fields)

    def concerns(self, fields: dict[str, Any]) -> bool:
        """Whether a message is about this pair; ABORT may name none, the first ACCEPT names it (11b.6)."""
        answer = fields.get("answer")
        if fields["name"] in ("OFFER", "ABORT") and answer is None:
            return True
        if self.initiator and not self.answer:
            return fields["name"] in ("ACCEPT", "ASK", "ABORT", "READY")
        return bool(answer == self.answer)


def stray(fields: dict[str, Any], code: str, *, to_initiator: bool) -> bytes:
    """The answer to a message for a pair that a node does not know, or nothing (B-021, B-022)."""
    pair = {"exchange": fields["exchange"], "answer": fields.get("answer")}
    if to_initiator and fields["name"] in ("ACCEPT", "READY", "ASK"):
        return encode_message("exchange", "ABORT", **pair, code=ERRORS[code])
    if not to_initiator and fields["name"] == "COMMIT":
        return encode_message("exchange", "ACK", **pair)
    return b""

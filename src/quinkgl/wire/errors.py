"""Error codes of the protocol, and the two exceptions of the protocol side.

A :class:`LocalProtocolError` says that the caller misused an interface; the state it was called on is
untouched. A :class:`RemoteProtocolError` says that bytes from the network broke the specification; it never
leaves an ``Endpoint`` or a ``Swarm``, which turn it into a close, a cancellation or a count. How a node
reacts depends on the code alone, never on the text.
"""

from __future__ import annotations

from enum import IntEnum

from quinkgl.wire.spec_data import load

_REGISTRY = load("registries/errors")
_CODES: dict[str, int] = {name: entry["code"] for name, entry in _REGISTRY.items()}

FIRST_LOCAL_CODE = 0x00E0
"""Codes from here to 0x00ff name conditions of one node; they are never sent."""


class ErrorCode(IntEnum):
    """Error codes (u16) of ``spec/registries/errors.toml``, where each is explained."""

    NO_ERROR = _CODES["NO_ERROR"]
    E_INTERNAL = _CODES["E_INTERNAL"]
    E_PROTOCOL = _CODES["E_PROTOCOL"]
    E_VERSION = _CODES["E_VERSION"]
    E_FRAME_FORMAT = _CODES["E_FRAME_FORMAT"]
    E_FRAME_UNKNOWN = _CODES["E_FRAME_UNKNOWN"]
    E_FRAME_CONTEXT = _CODES["E_FRAME_CONTEXT"]
    E_FLOW = _CODES["E_FLOW"]
    E_ACK = _CODES["E_ACK"]
    E_CID_LIMIT = _CODES["E_CID_LIMIT"]
    E_KEY_UPDATE = _CODES["E_KEY_UPDATE"]
    E_AEAD_LIMIT = _CODES["E_AEAD_LIMIT"]
    E_IDLE = _CODES["E_IDLE"]
    E_NO_PATH = _CODES["E_NO_PATH"]
    E_BUSY = _CODES["E_BUSY"]
    E_RESET = _CODES["E_RESET"]
    E_MAC1 = _CODES["E_MAC1"]
    E_HS_DECRYPT = _CODES["E_HS_DECRYPT"]
    E_HS_IDENTITY = _CODES["E_HS_IDENTITY"]
    E_HS_PARAMS = _CODES["E_HS_PARAMS"]
    E_HS_PQ_REQUIRED = _CODES["E_HS_PQ_REQUIRED"]
    E_HS_SELF = _CODES["E_HS_SELF"]
    E_HS_DUP = _CODES["E_HS_DUP"]
    E_HS_TIMEOUT = _CODES["E_HS_TIMEOUT"]
    E_CBOR = _CODES["E_CBOR"]
    E_CBOR_CANON = _CODES["E_CBOR_CANON"]
    E_SCHEMA = _CODES["E_SCHEMA"]
    E_TOO_BIG = _CODES["E_TOO_BIG"]
    E_MAN_UNKNOWN = _CODES["E_MAN_UNKNOWN"]
    E_MAN_HASH = _CODES["E_MAN_HASH"]
    E_MAN_SIG = _CODES["E_MAN_SIG"]
    E_MAN_EXPIRED = _CODES["E_MAN_EXPIRED"]
    E_MAN_VERSION = _CODES["E_MAN_VERSION"]
    E_TRUST_TOFU = _CODES["E_TRUST_TOFU"]
    E_TRUST_PINNED = _CODES["E_TRUST_PINNED"]
    E_TRUST_UNSIGNED = _CODES["E_TRUST_UNSIGNED"]
    E_TRUST_SEQ = _CODES["E_TRUST_SEQ"]
    E_MAN_ARCH = _CODES["E_MAN_ARCH"]
    E_MAN_SHAPE = _CODES["E_MAN_SHAPE"]
    E_MAN_TERMS = _CODES["E_MAN_TERMS"]
    E_MAN_TIMEOUT = _CODES["E_MAN_TIMEOUT"]
    E_OBJ_HASH = _CODES["E_OBJ_HASH"]
    E_OBJ_SIZE = _CODES["E_OBJ_SIZE"]
    E_OBJ_LAYOUT = _CODES["E_OBJ_LAYOUT"]
    E_OBJ_VALUE = _CODES["E_OBJ_VALUE"]
    SUPERSEDED = _CODES["SUPERSEDED"]
    NOT_WANTED = _CODES["NOT_WANTED"]
    GONE = _CODES["GONE"]
    TOO_SLOW = _CODES["TOO_SLOW"]
    E_RND_REPLAY = _CODES["E_RND_REPLAY"]
    E_RND_STALE = _CODES["E_RND_STALE"]
    E_RND_AHEAD = _CODES["E_RND_AHEAD"]
    E_RND_RATE = _CODES["E_RND_RATE"]
    E_EQUIVOCATION = _CODES["E_EQUIVOCATION"]
    E_UPD_HEADER = _CODES["E_UPD_HEADER"]
    E_REC_SIG = _CODES["E_REC_SIG"]
    E_REC_EXPIRED = _CODES["E_REC_EXPIRED"]
    E_REC_SCOPE = _CODES["E_REC_SCOPE"]
    E_SHUFFLE_RATE = _CODES["E_SHUFFLE_RATE"]
    E_FP_UNSUPPORTED = _CODES["E_FP_UNSUPPORTED"]
    E_FP_BUDGET = _CODES["E_FP_BUDGET"]
    E_FP_EPOCH = _CODES["E_FP_EPOCH"]
    E_FP_RATE = _CODES["E_FP_RATE"]
    E_FP_BINDING = _CODES["E_FP_BINDING"]
    E_FP_TIMEOUT = _CODES["E_FP_TIMEOUT"]
    E_NAT_NO_TARGET = _CODES["E_NAT_NO_TARGET"]
    E_NAT_REFUSED = _CODES["E_NAT_REFUSED"]
    E_NAT_TIMEOUT = _CODES["E_NAT_TIMEOUT"]
    E_RLY_REFUSED = _CODES["E_RLY_REFUSED"]
    E_RLY_NO_RESERVATION = _CODES["E_RLY_NO_RESERVATION"]
    E_RLY_LIMIT = _CODES["E_RLY_LIMIT"]
    E_RLY_VOUCHER = _CODES["E_RLY_VOUCHER"]
    E_RLY_GONE = _CODES["E_RLY_GONE"]
    E_RLY_LOOP = _CODES["E_RLY_LOOP"]
    E_USAGE = _CODES["E_USAGE"]

    @property
    def scope(self) -> str:
        """What the condition ends: ``drop``, ``close``, ``transfer``, ``request`` or ``local``."""
        scope: str = _REGISTRY[self.name]["scope"]
        return scope

    @property
    def when(self) -> str:
        """One sentence that says when the code applies, for people."""
        when: str = _REGISTRY[self.name]["when"]
        return when


_LOCAL_CODES = frozenset(entry["code"] for entry in _REGISTRY.values() if entry["scope"] == "local")
_LOCAL_CODES_END = 0x0100

if set(_CODES) != set(ErrorCode.__members__):
    raise ImportError(
        f"error codes differ from the registry: {sorted(set(_CODES) ^ set(ErrorCode.__members__))}"
    )


def error_code_untrusted(value: int) -> ErrorCode:
    """Return the error code that a peer sent, E_PROTOCOL for one that is unknown, GREASE or not for the wire.

    Never raises: an unknown code still ends what it was sent to end [E-002].
    """
    return ErrorCode.E_PROTOCOL if is_local_code(value) else known_error_code(value)


def known_error_code(value: int) -> ErrorCode:
    """Return the error code of an event, where it may be the node's own; E_PROTOCOL for an unknown one."""
    try:
        return ErrorCode(value)
    except ValueError:
        return ErrorCode.E_PROTOCOL


def is_local_code(value: int) -> bool:
    """Whether a code says what a node noticed at itself: such codes are never sent [E-003]."""
    return FIRST_LOCAL_CODE <= value < _LOCAL_CODES_END or value in _LOCAL_CODES


def check_sent_code(value: int) -> None:
    """Raise LocalProtocolError (E_USAGE) for a code that a node does not send [E-003]."""
    if is_local_code(value):
        raise LocalProtocolError(ErrorCode.E_USAGE, f"code {value:#06x} is never sent", section="E-003")


class ProtocolError(Exception):
    """Something broke a rule of the protocol or of its interface.

    Attributes: ``code``; ``layer``, the package that noticed (``wire``, ``crypto``, ``transport``,
    ``protocol``, ``swarm``); ``peer``, the 32-byte id of the peer concerned where one is known; ``section``,
    the number of the rule in ``spec/`` where there is one (``"C-004"``).
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        layer: str = "wire",
        peer: bytes | None = None,
        section: str = "",
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.layer = layer
        self.peer = peer
        self.section = section

    def __str__(self) -> str:
        """Return one line: code, message, then the rule and the peer where known."""
        text = f"{self.code.name}: {self.message}"
        if self.section:
            text += f" [{self.section}]"
        if self.peer is not None:
            text += f" (peer {self.peer[:4].hex()})"
        return text


class LocalProtocolError(ProtocolError):
    """The caller misused an interface. The object it was called on is as before."""


class RemoteProtocolError(ProtocolError):
    """Bytes from the network broke the specification; the one exception of ``…_untrusted`` functions."""

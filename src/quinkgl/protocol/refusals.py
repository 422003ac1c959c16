"""Why gossip refuses an offer or gives a body up: the code for the peer, and the word that is counted."""

from __future__ import annotations

from quinkgl.protocol.inbox import Action
from quinkgl.protocol.update_gate import Refusal
from quinkgl.wire.errors import ErrorCode

NOT_CONNECTED = Refusal(ErrorCode.NOT_WANTED, "not_connected")
BARRED = Refusal(ErrorCode.E_EQUIVOCATION, "offer_barred")
EQUIVOCATION = Refusal(ErrorCode.E_EQUIVOCATION, "offer_equivocation")
RATE = Refusal(ErrorCode.E_RND_RATE, "offer_rate")
SIZE = Refusal(ErrorCode.E_OBJ_SIZE, "offer_size")
DUPLICATE = Refusal(ErrorCode.NOT_WANTED, "offer_duplicate")
SUPERSEDED = Refusal(ErrorCode.SUPERSEDED, "offer_superseded")
STALE = Refusal(ErrorCode.E_RND_STALE, "transfer_stale")
INCOMPLETE = Refusal(ErrorCode.GONE, "update_incomplete")
SCORE = Refusal(ErrorCode.NOT_WANTED, "offer_score")
BUSY = Refusal(ErrorCode.E_BUSY, "offer_busy")

GIVEN_UP = {
    Action.SUPERSEDE: SUPERSEDED,
    Action.CANCEL: STALE,
    Action.CONVICT_AND_CANCEL: EQUIVOCATION,
}
"""Why the body on the way is given up, by what the table says."""

INVALID = (ErrorCode.E_UPD_HEADER, ErrorCode.E_OBJ_HASH, ErrorCode.E_OBJ_LAYOUT)
"""Codes of what no peer does by accident."""

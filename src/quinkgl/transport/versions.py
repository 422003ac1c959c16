"""Which version of the protocol a handshake speaks, and how two nodes find one (spec 5.10).

The initiator offers what it speaks, the one it likes best first, and opens in that one. A responder that
does not speak it says which it does, without remembering anything. Nothing of that exchange is protected;
what protects it is that the offer and the choice are part of the prologue, and that a responder refuses a
choice that comes after a better one which it speaks: an INIT that was talked down is no use to anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quinkgl.transport.init_rate import InitRate
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.limits import LIMITS
from quinkgl.wire.packets import (
    DESTINATION_ID_OF_LONG,
    SOURCE_ID_OF_LONG,
    encode_version_negotiation,
    grease_version,
)

if TYPE_CHECKING:
    import random


class Versions:
    """The versions that a node speaks, in its order of preference."""

    def __init__(self, spoken: tuple[int, ...], now: float) -> None:
        self._spoken = spoken
        self._answers = InitRate(per_network=0, total=LIMITS.version_negotiations_per_s, now=now)

    def offer(self, rng: random.Random) -> tuple[int, ...]:
        """Return what to offer: all that is spoken, and one version that nobody speaks, at a random place."""
        # S-070
        place = rng.getrandbits(8) % (len(self._spoken) + 1)
        return (*self._spoken[:place], grease_version(rng.getrandbits(16)), *self._spoken[place:])

    def choose(self, theirs: tuple[int, ...]) -> int | None:
        """Return the version that we like best of those that the other side speaks [S-072]."""
        return next((version for version in self._spoken if version in theirs), None)

    def check_choice_untrusted(self, version: int, offered: tuple[int, ...]) -> None:
        """Refuse an INIT whose sender would have opened in another version, had it known ours (S-073).

        Raises RemoteProtocolError E_VERSION.
        """
        for better in offered:
            if better == version:
                return
            if better in self._spoken:
                break
        raise RemoteProtocolError(
            ErrorCode.E_VERSION,
            f"version {version} where {offered} are offered and {self._spoken} spoken",
            layer="transport",
            section="S-073",
        )

    def may_answer(self, now: float) -> bool:
        """Count an answer to an unknown version; False where there were enough within this second."""
        return self._answers.take(None, now)

    def answer(self, header: bytes, rng: random.Random) -> bytes:
        """Return the answer to a long packet with that header in a version that is not spoken here."""
        return encode_version_negotiation(
            destination_id=header[SOURCE_ID_OF_LONG],
            source_id=header[DESTINATION_ID_OF_LONG],
            versions=self.offer(rng),
        )

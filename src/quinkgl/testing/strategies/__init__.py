"""Hypothesis strategies made from the specification: messages, frames, datagrams, addresses, conditions.

With them whoever writes a peer, a decoder, a driver or a carrier tests it against everything that the
standard allows and forbids; ``docs/testing-your-own.md`` shows how. The strategies for messages are generated
from ``spec/schema``, those for frames from the layouts of ``spec/registries/frames.toml``: a message that is
added there is drawn here.

Needs Hypothesis.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401 - only to say what is missing
except ModuleNotFoundError as _error:
    from quinkgl._exports import EXTRAS

    raise ImportError(
        "quinkgl.testing.strategies needs 'hypothesis', which is not installed: "
        f"pip install 'quinkgl[{EXTRAS['hypothesis']}]'",
        name="hypothesis",
    ) from _error

from quinkgl.testing.strategies._addresses import addresses, bad_packed_addresses, packed_addresses
from quinkgl.testing.strategies._conditions import carrier_steps, fates, links, schedules
from quinkgl.testing.strategies._datagrams import (
    InvalidFrames,
    datagrams,
    frame_payloads,
    frames,
    grease_frames,
    invalid_frame_payloads,
    mangled,
)
from quinkgl.testing.strategies._messages import (
    Family,
    InvalidMessage,
    MisencodedMessage,
    families,
    invalid_messages,
    message_values,
    messages,
    misencoded_messages,
    unknown_kinds,
)

__all__ = [
    "Family",
    "InvalidFrames",
    "InvalidMessage",
    "MisencodedMessage",
    "addresses",
    "bad_packed_addresses",
    "carrier_steps",
    "datagrams",
    "families",
    "fates",
    "frame_payloads",
    "frames",
    "grease_frames",
    "invalid_frame_payloads",
    "invalid_messages",
    "links",
    "mangled",
    "message_values",
    "messages",
    "misencoded_messages",
    "packed_addresses",
    "schedules",
    "unknown_kinds",
]

"""Every family, in the order of the chapters, and the second implementation as an adapter for their tests."""

from __future__ import annotations

from . import (
    agreements,
    encoding,
    gossip,
    handshakes,
    identities,
    long_packets,
    messages,
    more_messages,
    objects,
    packets,
    primitives,
    statements,
    streams,
    swarms,
    tensors,
    traces,
)
from .family import Family, Json, code_of, plain

FAMILIES: tuple[Family, ...] = (
    *primitives.FAMILIES,
    *identities.FAMILIES,
    *encoding.FAMILIES,
    *messages.FAMILIES,
    *more_messages.FAMILIES,
    *swarms.FAMILIES,
    *handshakes.FAMILIES,
    *long_packets.FAMILIES,
    *packets.FAMILIES,
    *streams.FAMILIES,
    *objects.FAMILIES,
    *tensors.FAMILIES,
    *traces.FAMILIES,
    *agreements.FAMILIES,
    *statements.FAMILIES,
    *gossip.FAMILIES,
)


def adapter(family: str, name: str, inputs: dict[str, Json]) -> dict[str, Json]:
    """Answer a test as the second implementation does."""
    found = next(candidate for candidate in FAMILIES if candidate.name == family)
    try:
        mid, out = found.ops[name].run(inputs)
    except found.refusals as refusal:
        return {"error": code_of(refusal)}
    return {"mid": plain(mid), "out": plain(out)}

"""Operations of the families of the manifest handshake and of two-sided exchanges."""

from __future__ import annotations

from enum import Enum

from quinkgl.protocol.exchange_table import ANSWERING_TABLE, INITIATING_TABLE, Action, Input
from quinkgl.protocol.manifest_handshake import ManifestAgreed, ManifestHandshake, ManifestRefused
from quinkgl.testing.vectors.ours import Fields, Refused, operation
from quinkgl.wire.messages.manifest import Hello, decode_manifest_message_untrusted


@operation("manifest-handshake", "take")
def take(given: Fields) -> tuple[Fields, Fields]:
    """Take the messages of the other side."""
    own = decode_manifest_message_untrusted(bytes.fromhex(given["own"]))
    if not isinstance(own, Hello):
        raise TypeError("no HELLO")
    machine = ManifestHandshake(own.terms, role_initiator=own.initiator, now=0.0, unix_now=given["unix_now"])
    largest, features = 0, []
    agreed: ManifestAgreed | None = None
    for message in map(bytes.fromhex, given["messages"]):
        machine.receive_message(message, now=0.0)
        while (event := machine.next_event()) is not None:
            if isinstance(event, ManifestRefused):
                raise Refused(event.code.name)
            agreed = event
    sent = []
    while (message_out := machine.next_message(0.0)) is not None:
        sent.append(message_out)
    for message in map(bytes.fromhex, given["messages"]):
        theirs = decode_manifest_message_untrusted(message)
        if isinstance(theirs, Hello):
            largest = min(own.terms.max_object_bytes, theirs.terms.max_object_bytes)
            features = [each for each in own.terms.features if each in theirs.terms.features]
    if agreed is not None:  # what the machine itself says of both, once it has agreed
        largest, features = agreed.max_object_bytes, sorted(agreed.features)
    return {}, {
        "state": machine.state.name,
        "sent": sent,
        "largest_update": largest,
        "features": features,
    }


@operation("two-sided-exchange", "walk")
def walk(given: Fields) -> tuple[Fields, Fields]:
    """Walk through the table of a side."""
    table = {"initiator": INITIATING_TABLE, "responder": ANSWERING_TABLE}[given["side"]]
    state: Enum = table.initial
    steps = []
    for event in given["events"]:
        step = table.step(state, Input[event])  # type: ignore[arg-type]
        if step.do is Action.FAULT:
            raise Refused("E_PROTOCOL")
        state = step.next
        done = "" if step.do is Action.IGNORE else step.do.value
        steps.append({"do": done, "state": state.name})
    return {}, {"steps": steps}

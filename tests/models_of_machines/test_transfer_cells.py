"""Both sides of a transfer, cell by cell: what `spec/machines/` says of an event is what an exchange does.

The tables that the two sides step through say where a transfer goes. Here the words of the files are held
against what is seen from outside: messages, chunks, grants and events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quinkgl.transport.object_events import ObjectDelivered, ObjectFailed, ObjectReceived
from quinkgl.transport.object_sender import Chunk
from quinkgl.transport.objects import ObjectExchange
from quinkgl.transport.reassembly import ObjectConfig, Reassembly
from quinkgl.transport.sinks import MemorySink
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl.wire.merkle import LEAF_BYTES, leaf_hashes, merkle_root
from quinkgl.wire.messages.objects import (
    Cancel,
    Done,
    ObjectMessage,
    Offer,
    Want,
    decode_object_message_untrusted,
    encode_object_message,
)
from quinkgl.wire.spec_data import load

BODY = bytes(range(256)) * (LEAF_BYTES // 256 + 40)
LEAVES = leaf_hashes(BODY)
ROOT, LIST = merkle_root(LEAVES), b"".join(LEAVES)
SPACE = LIST + BODY

SENDER, RECEIVER = load("machines/object-sender"), load("machines/object-receiver")
GIVEN = ErrorCode.GONE
"""The code that the peer, the application or the end of the session gives."""

OUTPUT = {
    "send chunks within the credit": "chunk",
    "start over with the new ranges and credit": "chunk",
    "credit = max(credit, limit)": "chunk",
    "send it again, before new bytes": "chunk",
    "send the present credit again": "credit",
}
"""Actions whose words do not say themselves what is seen."""
INSIDE = {"store it", "verify", "keep what is verified", "grant credit as above"}
"""Actions that are not seen at once, or not each time."""


def cells(machine: dict[str, Any]) -> list[tuple[str, str]]:
    """Every state and event but those that cannot come together."""
    return [
        (state, event)
        for state, row in machine["transitions"].items()
        for event in machine["events"]
        if event not in row.get("impossible", ())
    ]


def promised(machine: dict[str, Any], state: str, event: str) -> tuple[set[str], str]:
    """What is to be seen, and the state after it."""
    cell = machine["transitions"][state].get(event, {"next": state})
    seen = {OUTPUT.get(action, action) for action in cell.get("do", ()) if action not in INSIDE}
    if cell["next"] == "COMPLETE":  # lasts for no time
        more, following = promised(machine, "COMPLETE", "DELIVERED")
        return seen | more, following
    return seen, cell["next"]


def observed(exchange: ObjectExchange) -> set[str]:
    """What is seen of an exchange, in the words of the files."""
    seen = set()
    while (message := exchange.next_message()) is not None:
        match decode_object_message_untrusted(message):
            case Cancel(_, code):
                seen.add("send CANCEL" if code == GIVEN else f"send CANCEL `{ErrorCode(code).name}`")
            case other:
                seen.add(f"send {type(other).__name__.upper()}")
    failures = []
    while (event := exchange.next_event()) is not None:
        match event:
            case ObjectFailed():
                failures.append(event.code)
            case ObjectReceived():
                assert bytes(event.body) == BODY
                seen.add("hand on")
            case ObjectDelivered():
                seen.add("report delivered")
    for code in failures:
        if code != GIVEN:
            assert f"send CANCEL `{ErrorCode(code).name}`" in seen
        seen.add("report failed" if code != GIVEN else "report failed, with a code")
    while exchange.next_chunk(1000) is not None:
        seen.add("chunk")
    while exchange.next_credit() is not None:
        seen.add("credit")
    return seen


def in_one_word(seen: set[str]) -> set[str]:
    """Whose code a failure has is known by the code."""
    whose = {"report failed, with its code", "report failed, with the session's code"}
    return {"report failed, with a code" if what in whose else what for what in seen}


def tell(exchange: ObjectExchange, message: ObjectMessage) -> None:
    exchange.receive_message_untrusted(encode_object_message(message), now=0.0)


def wait(exchange: ObjectExchange) -> None:
    """Let time pass in which nothing comes, until something is given up."""
    while (due := exchange.deadline()) is not None:
        exchange.handle_timer(now=due)


# --- the offering side ---


def offering(state: str) -> tuple[ObjectExchange, Chunk]:
    """An exchange whose transfer 0 is in a state, and a chunk of it."""
    exchange = ObjectExchange(Reassembly(ObjectConfig()))
    assert exchange.offer(ROOT, LIST, b"header", memoryview(BODY), now=0.0) == 0
    chunk = Chunk(0, 0, len(LIST))
    if state == "SENDING":
        tell(exchange, Want(0, ((0, len(SPACE)),), 2000))
        chunk = exchange.next_chunk(1000)[0]
    elif state == "ENDED":
        exchange.withdraw(0, GIVEN)
    observed(exchange)
    return exchange, chunk


@pytest.mark.parametrize(("state", "event"), cells(SENDER))
@pytest.mark.req("O-013", "O-015", "O-016", "O-019", "O-030", "O-031", "O-039")
def test_each_cell_of_an_offerer_does_what_the_file_says(state: str, event: str) -> None:
    exchange, chunk = offering(state)
    happen: dict[str, Callable[[], Any]] = {
        "WANT": lambda: tell(exchange, Want(0, ((0, 600),), 600)),
        "MAX_DATA": lambda: exchange.receive_credit(0, 4000),
        "LOST": lambda: exchange.on_chunk_lost(chunk),
        "DONE": lambda: tell(exchange, Done(0)),
        "CANCEL": lambda: tell(exchange, Cancel(0, GIVEN, by_offerer=False)),
        "STALLED": lambda: wait(exchange),
        "WITHDRAWN": lambda: exchange.withdraw(0, GIVEN),
        "CLOSED": lambda: exchange.close(GIVEN, now=1.0),
    }
    happen[event]()
    expected, following = promised(SENDER, state, event)
    assert observed(exchange) == in_one_word(expected)
    progress = exchange.progress(0, outgoing=True)
    assert (progress is None) is (following == "ENDED")
    if progress is not None:
        assert (progress[1] > 0) is (following == "SENDING")


# --- the receiving side ---


class Sink(MemorySink):
    """A place that fails from some time on."""

    is_full = False
    is_unreadable = False

    def write(self, offset: int, data: memoryview) -> None:
        if self.is_full:
            raise OSError("no space")
        super().write(offset, data)

    def body(self) -> memoryview:
        if self.is_unreadable:
            raise OSError("gone")
        return super().body()

    def leaf_list(self) -> bytes | None:
        if self.is_full:
            raise OSError("no space")
        return super().leaf_list()


def receiving(state: str) -> tuple[ObjectExchange, Sink]:
    """An exchange whose transfer 0 is in a state, and where the object goes or is to go."""
    exchange, sink = ObjectExchange(Reassembly(ObjectConfig())), Sink(ROOT, len(BODY))
    tell(exchange, Offer(0, ROOT, len(BODY), b"header"))
    if state in {"RECEIVING", "COMPLETE"}:
        assert exchange.accept(0, sink, now=0.0)
    elif state == "ENDED":
        exchange.refuse(0, GIVEN)
    observed(exchange)
    return exchange, sink


def held() -> Sink:
    """A place that has all of the object already."""
    exchange, sink = receiving("RECEIVING")
    exchange.receive_chunk_untrusted(0, 0, SPACE)
    return sink


@pytest.mark.parametrize(("state", "event"), cells(RECEIVER))
@pytest.mark.req("O-010", "O-011", "O-020", "O-021", "O-027", "O-030", "O-031", "O-037")
def test_each_cell_of_a_receiver_does_what_the_file_says(state: str, event: str) -> None:
    exchange, sink = receiving(state)

    def not_stored() -> None:
        if state == "OFFERED":
            sink.is_full = True
            exchange.accept(0, sink, now=0.0)
            return
        sink.is_unreadable = state == "COMPLETE"
        sink.is_full = state == "RECEIVING"
        exchange.receive_chunk_untrusted(0, 0, SPACE)

    happen: dict[str, Callable[[], Any]] = {
        "ACCEPTED": lambda: exchange.accept(0, sink, now=0.0),
        "ACCEPTED_WHOLE": lambda: exchange.accept(0, held(), now=0.0),
        "CHUNK": lambda: exchange.receive_chunk_untrusted(0, 0, SPACE[:100]),
        "WHOLE": lambda: exchange.receive_chunk_untrusted(0, 0, SPACE),
        "CREDIT_LOST": lambda: exchange.on_credit_lost(0),
        "DELIVERED": lambda: exchange.receive_chunk_untrusted(0, 0, SPACE),
        "REFUSED": lambda: exchange.refuse(0, GIVEN),
        "TOO_SLOW": lambda: wait(exchange),
        "NOT_STORED": not_stored,
        "CANCEL": lambda: tell(exchange, Cancel(0, GIVEN, by_offerer=True)),
        "CLOSED": lambda: exchange.close(GIVEN, now=1.0),
    }
    if event in RECEIVER["transitions"][state].get("refused", ()):
        with pytest.raises(RemoteProtocolError) as refused:
            happen[event]()
        assert f"`{refused.value.code.name}`" in RECEIVER["otherwise"]["refused"]
        return
    happen[event]()
    expected, following = promised(RECEIVER, state, event)
    assert observed(exchange) == in_one_word(expected)
    assert (exchange.progress(0, outgoing=False) is not None) is (following == "RECEIVING")
    assert exchange.accept(0, now=2000.0) is (following == "OFFERED")

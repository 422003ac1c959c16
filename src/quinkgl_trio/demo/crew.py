"""The demo's peers at work: each a real `quinkgl-trio run` that is told one address, and its own shard."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from quinkgl_trio.demo.plan import PeerFolder, Stage
from quinkgl_trio.demo.processes import Child, ChildDied, run_child

_JOIN_TIMEOUT_S: Final = 15.0
"""How long peers try to meet before they go on alone, which the demo reports as a failure."""
_TORCH_JOIN_TIMEOUT_S: Final = 60.0
"""The same where every process first has to load PyTorch, all at the same time."""


@dataclass(slots=True)
class PeerLog:
    """What one peer has told so far."""

    name: str
    peer_id: str = ""
    address: str = ""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """Payloads of ``round_completed``."""
    met: int = 0
    """Peers connected now."""
    summary: dict[str, Any] | None = None
    """Payload of ``node.stopped``."""

    @property
    def last(self) -> dict[str, Any] | None:
        """The last finished round."""
        return self.rounds[-1] if self.rounds else None

    def take(self, event: dict[str, Any]) -> None:
        """Note one event of the peer."""
        match event.get("event"):
            case "node.started":
                self.peer_id, self.address = event["peer_id"], event["address"]
            case "round_completed":
                self.rounds.append(event)
            case "peer_discovered":
                self.met += 1
            case "peer_disconnected":
                self.met -= 1
            case "node.stopped":
                self.summary = event


async def run_crew(stage: Stage, logs: list[PeerLog], on_change: Callable[[], None]) -> None:
    """Run every peer to its end; ``logs``, one a peer, fill up meanwhile.

    Raises:
        ChildDied: the first peer that ended with an error; the others have been ended and reaped.
        OSError: a process could not be started.
    """
    first_address = trio.Event()

    def taker(log: PeerLog) -> Callable[[Child, dict[str, Any]], None]:
        def take(_child: Child, event: dict[str, Any]) -> None:
            log.take(event)
            if log is logs[0] and log.address:
                first_address.set()
            on_change()

        return take

    async def run_one(folder: PeerFolder, log: PeerLog, meet: str | None) -> None:
        command = peer_command(stage, folder, meet)
        await run_child(folder.name, command, log=folder.log, on_event=taker(log))
        if log.summary is None:
            raise ChildDied(folder.name, 0, "it ended without a word")

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_one, stage.folders[0], logs[0], None)
            await first_address.wait()
            for folder, log in zip(stage.folders[1:], logs[1:], strict=True):
                nursery.start_soon(run_one, folder, log, logs[0].address)
    except BaseExceptionGroup as group:
        deaths = group.subgroup(ChildDied)
        if deaths is None:
            raise
        raise _first(deaths) from None  # the others were ended because of it


def _first(group: BaseExceptionGroup[ChildDied]) -> ChildDied:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def peer_command(stage: Stage, folder: PeerFolder, meet: str | None) -> list[str]:
    """The command line of one peer: `quinkgl-trio run` and nothing that a user could not type."""
    plan, training = stage.plan, stage.plan.training
    flags: dict[str, object] = {
        "manifest": stage.manifest_path,
        "listen": "127.0.0.1:0",
        "data": folder.shard,
        "test-data": stage.test_path,
        "model": plan.model,
        "hidden": plan.hidden,
        "seed": plan.seed,
        "peer-index": folder.index,
        "rounds": training.rounds,
        "epochs": training.epochs,
        "batch-size": training.batch_size,
        "learning-rate": training.learning_rate,
        "schedule": training.schedule,
        "fan-out": plan.fan_out,
        "quorum": plan.quorum,
        "min-collect": plan.min_collect_s,
        "max-collect": plan.max_collect_s,
        "offer-interval": plan.offer_interval_s,
        "min-peers": plan.peers - 1,
        "join-timeout": _TORCH_JOIN_TIMEOUT_S if plan.model == "torch" else _JOIN_TIMEOUT_S,
        "checkpoint-dir": folder.checkpoints,
        "checkpoint-every": training.rounds,
    }
    if meet is not None:
        flags["peer"] = meet
    command = [sys.executable, "-m", "quinkgl_trio", "run", "--json", "--quiet"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    return [*command, "--alone-ok", "--stop-when-stdin-closes"]

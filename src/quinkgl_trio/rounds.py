"""A node's rounds: does what the `RoundMachine` asks for, in worker threads where it computes.

The event loop never trains, encodes, decodes, mixes, evaluates or writes a file: it answers packets then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from quinkgl.aggregation import ModelUpdate
from quinkgl.models import TrainingResult
from quinkgl.swarm import UpdateReceived
from quinkgl.topology import PeerInfo, SelectionContext, TopologyStrategy
from quinkgl.training import (
    AggregateRequested,
    EvaluateRequested,
    OwnModelKept,
    PublishRequested,
    RoundCompleted,
    RoundConfig,
    RoundMachine,
    RoundPhase,
    RunCompleted,
    TrainRequested,
)
from quinkgl.wire.errors import ErrorCode, RemoteProtocolError
from quinkgl_trio.hashing import hash_off_loop
from quinkgl_trio.learner import Learner, TrainingStopped
from quinkgl_trio.network import Emit, Network

_BAD_UPDATES: Final = 3
"""Updates that cannot be used after which a peer is sent away: one may be an accident."""


class RoundLoop:
    """Executes the rounds of one node.

    Args:
        learner: does it.
        network: where updates go.
        topology: which peers they go to.
        context: what the topology knows besides the peers.
        fan_out: how many peers to send to.
        completed_rounds: rounds done before.
        emit: takes the name and the payload of every event worth telling.
        after_round: called with each finished round and its evaluation, before the next one begins.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        network: Network,
        topology: TopologyStrategy,
        context: SelectionContext,
        fan_out: int,
        completed_rounds: int,
        emit: Emit,
        after_round: Callable[[RoundCompleted, TrainingResult, dict[str, float] | None], Awaitable[None]],
    ) -> None:
        self.machine: RoundMachine[ModelUpdate] = RoundMachine(
            RoundConfig(), completed_rounds=completed_rounds, now=trio.current_time()
        )
        """Decides what comes next. Updates that come before the first round wait in it."""
        self.rejected: Counter[str] = Counter()
        """Updates that were received but not used, by the reason."""
        self._learner = learner
        self._network = network
        self._topology = topology
        self._context = context
        self._fan_out = fan_out
        self._emit = emit
        self._after_round = after_round
        self._strikes: Counter[bytes] = Counter()
        self._moved = trio.lowlevel.ParkingLot()
        self._trained = TrainingResult(0, 0.0)
        self._evaluation: dict[str, float] | None = None

    # -- what happens between events of the machine

    def peers_changed(self) -> None:
        """Tell the machine how many peers there are now."""
        self.machine.set_live_peers(len(self._network.peers()), now=trio.current_time())
        self._moved.unpark_all()

    async def take_update(self, received: UpdateReceived) -> None:
        """Decode an update that has arrived and put it with those that wait for the next aggregation."""
        author = received.header.author
        if self._strikes[author] >= _BAD_UPDATES:
            self.rejected["banned"] += 1
            return
        try:
            update = await trio.to_thread.run_sync(self._learner.read, received)
        except RemoteProtocolError as error:
            self._reject(author, error.code, error.message)
            return
        position = received.header.position
        kept = self.machine.update_received(author, update, position=position, now=trio.current_time())
        self._emit(
            "model_received" if kept else "model_rejected_backpressure",
            {"peer": author.hex(), "round": received.header.round, "bytes": len(received.body)},
        )
        self._moved.unpark_all()

    def stop(self) -> None:
        """End the run; a round in progress does not count."""
        self.machine.stop(now=trio.current_time())
        self._moved.unpark_all()

    # -- the loop

    async def run(self, config: RoundConfig) -> RunCompleted:
        """Do rounds until the machine says that there are no more."""
        now = trio.current_time()
        if self.machine.phase is RoundPhase.DONE:
            done = self.machine.completed_rounds
            self.machine = RoundMachine(config, completed_rounds=done, now=now)
        else:
            self.machine.reconfigure(config, now=now)
        await self._topology.start()
        try:
            self.machine.start(now=now)
            self.peers_changed()
            while True:
                match await self._next_event():
                    case TrainRequested(round):
                        await self._train(round)
                    case PublishRequested(round):
                        await self._publish(round)
                    case AggregateRequested() as request:
                        await self._aggregate(request)
                    case OwnModelKept(round, reason):
                        self._emit("aggregation_failed", {"round": round, "reason": reason.value})
                    case EvaluateRequested(round):
                        await self._evaluate(round)
                    case RoundCompleted() as completed:
                        await self._after_round(completed, self._trained, self._evaluation)
                    case RunCompleted() as end:
                        return end
        finally:
            with trio.CancelScope(shield=True):
                await self._topology.stop()

    async def _next_event(self) -> Any:
        while (event := self.machine.next_event()) is None:
            deadline = self.machine.deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                await self._moved.park()
            self.machine.handle_timer(now=trio.current_time())
        return event

    async def _train(self, round: int) -> None:
        self._network.set_round(round)
        self._emit("round_started", {"round": round})
        self._emit("training_started", {"round": round, "samples": self._learner.sample_count})
        try:
            self._trained = await trio.to_thread.run_sync(self._learner.train, round, self._should_stop)
        except TrainingStopped:
            return
        self._emit(
            "training_completed",
            {
                "round": round,
                "loss": self._trained.final_loss,
                "accuracy": self._trained.final_accuracy,
                "samples": self._trained.samples_trained,
            },
        )
        self.machine.training_finished(now=trio.current_time())

    async def _publish(self, round: int) -> None:
        self._context.current_round = round
        self._context.now = trio.current_time()
        self._context.known_peers = [self._peer_info(view.peer) for view in self._network.peers()]
        targets = self._topology.select(self._context, self._fan_out)
        self._emit("targets_selected", {"round": round, "targets": targets})
        if targets:
            body = await hash_off_loop(await trio.to_thread.run_sync(self._learner.encode))
            self._network.publish(
                body,
                round=round,
                sample_count=self._learner.sample_count,
                targets=[bytes.fromhex(target) for target in targets],
                metadata={},
            )
        await self._topology.periodic_maintenance(self._context)
        self.machine.publishing_finished(now=trio.current_time())

    async def _aggregate(self, request: AggregateRequested[ModelUpdate]) -> None:
        updates = [pending.update for pending in request.updates]
        mixture = await trio.to_thread.run_sync(self._learner.mix, updates, self._trained)
        for rejection in mixture.rejected:
            self._reject(bytes.fromhex(rejection.peer_id), ErrorCode.E_OBJ_VALUE, rejection.detail)
        if mixture.applied:
            peers = list(mixture.contributors)
            total = sum(update.sample_count for update in updates if update.peer_id in peers)
            self._emit(
                "aggregation_completed",
                {
                    "round": request.round,
                    "peers": len(peers),
                    "contributors": peers,
                    "total_samples": total + self._learner.sample_count,
                },
            )
        now = trio.current_time()
        self.machine.aggregation_finished(now=now, own_model_kept=not mixture.applied)

    async def _evaluate(self, round: int) -> None:
        self._evaluation = await trio.to_thread.run_sync(self._learner.evaluate)
        if self._evaluation is not None:
            self._emit("post_aggregation_eval", {"round": round, **self._evaluation})
        self.machine.evaluation_finished(now=trio.current_time())

    # -- helpers

    def _should_stop(self) -> bool:
        """Asked in the training thread after each epoch; raises Cancelled there if the run was cancelled."""
        trio.from_thread.check_cancelled()
        return self.machine.phase is RoundPhase.DONE

    def _reject(self, author: bytes, code: ErrorCode, reason: str) -> None:
        """Drop an update, and charge its author with it."""
        self.rejected[code.name] += 1
        self._strikes[author] += 1
        payload = {"peer": author.hex(), "code": code.name, "reason": reason, "count": self._strikes[author]}
        self._emit("security.update_rejected", payload)
        if self._strikes[author] >= _BAD_UPDATES:
            self._network.disconnect(author, code, "updates that cannot be used")

    def _peer_info(self, peer: bytes) -> PeerInfo:
        return PeerInfo(
            peer_id=peer.hex(),
            domain=self._context.my_domain,
            data_schema_hash=self._context.my_data_schema_hash,
            manifest_id=self._context.my_manifest_id,
        )

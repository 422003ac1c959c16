"""`Node`: one peer of a swarm, whole. It owns the socket, the swarm, the model and the rounds."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import trio

from quinkgl.aggregation import AggregationStrategy
from quinkgl.crypto.identity import Identity, short_id
from quinkgl.crypto.keys import KeySource
from quinkgl.data import Dataset
from quinkgl.manifest import ErrorName, ManifestError, SwarmManifest, check_model_fits, compute_arch_hash
from quinkgl.models import ModelWrapper, TrainingResult
from quinkgl.observability import EventEmitter, RuntimeEvent
from quinkgl.storage import CheckpointError, list_checkpoints
from quinkgl.swarm import Capabilities, PeerView, Swarm, SwarmConfig, SwarmEvent
from quinkgl.topology import SelectionContext, TopologyStrategy
from quinkgl.training import RoundCompleted, RoundConfig
from quinkgl.transport import ConnectionConfig, EndpointConfig, KeyLog, ObjectConfig
from quinkgl.wire.addresses import Address, format_address
from quinkgl_trio.background import background
from quinkgl_trio.bootstrap import PeerTarget
from quinkgl_trio.checkpointing import SavedNode, load_latest
from quinkgl_trio.driver import UdpDriver, open_swarm
from quinkgl_trio.history import RoundReport, RunSummary
from quinkgl_trio.learner import Learner
from quinkgl_trio.listening import reachable_addresses
from quinkgl_trio.network import JoinError, Network
from quinkgl_trio.rounds import RoundLoop
from quinkgl_trio.sockets import BoundSocket, bind_udp
from quinkgl_trio.strategies import check_matches, make_aggregation, make_topology
from quinkgl_trio.training import TrainingPlan

_EVENTS_KEPT: Final = 1024
_DELIVERY_S: Final = 5.0
"""How long a finished node waits for its last updates to arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipConfig:
    """How a node meets and exchanges. Times are seconds."""

    fan_out: int = 3
    """Peers that each round's model is sent to."""
    quorum: int = 2
    """Updates of other peers that end the collecting of a round; never more than there are peers."""
    min_collect_s: float = 0.0
    """Least time of collecting."""
    max_collect_s: float = 10.0
    """Longest time of collecting: a round without a quorum goes on with what there is."""
    minimum_peers: int = 1
    """Peers to meet before the first round."""
    join_timeout_s: float | None = 30.0
    """How long to try to meet them; None for as long as it takes."""
    alone_ok: bool = False
    """Go on without them then, instead of failing."""
    offer_interval_s: float = 0.1
    """A peer may offer one update in this time, after a burst; 0 for no limit."""


class Node:
    """One peer: joins a swarm, trains, exchanges models and mixes them, round by round.

    ```python
    async with Node(manifest=manifest, model=model, data=data, training=TrainingPlan(rounds=30),
                    listen=("127.0.0.1", 0), peers=["127.0.0.1:4242"]) as node:
        summary = await node.run()
    ```

    Everything that needs no network is checked when the node is made; entering the block opens the socket and
    joins, leaving it says goodbye. Events can be iterated over meanwhile (`events`), by any number of tasks.

    Args:
        manifest: what all members of the swarm hold.
        model: the model; the node is its only user while it is open.
        data: what to train on.
        training: hyperparameters and the number of rounds.
        evaluation: what to evaluate on after each round; None for nothing.
        listen: address to bind, or a socket that is bound already.
        peers: peers to ask first, as ``[PEER_ID@]HOST:PORT``.
        advertise: where others can reach this node; by default where it is bound, or for a wildcard address
            the address of this machine on the way to the peers.
        identity: this node's key; by default a fresh one.
        join_secret: of a private swarm.
        keylog: called with each line of a key log (docs/reference/key-log.md); whoever has the lines can read
            the node's sessions.
        gossip: how to meet and exchange.
        aggregation: the rule; by default the one that the manifest names.
        topology: who is sent to; by default the one that the manifest names.
        seed: of the swarm; with ``peer_index`` it decides what this node's topology draws.
        peer_index: sets this node's draws apart from those of others; by default its id.
        checkpoint_dir: folder for checkpoints; None for none.
        checkpoint_every: rounds between two checkpoints; there is always one at the end.
        resume: go on from the newest checkpoint.
        emitter: told of everything; by default one of its own.

    Raises:
        ManifestError: model, data or rules are not those of the manifest (ERR_NODE_ARCH_MISMATCH,
            ERR_NODE_DATA_SHAPE_MISMATCH, ERR_NODE_AGGREGATION_MISMATCH, ERR_NODE_TOPOLOGY_MISMATCH), or the
            manifest asks for what this version does not have.
        ValueError: a peer's address that cannot be understood, or a number that makes no sense.
        CheckpointError: no checkpoint to resume from, one of another swarm or model, a damaged one, or one
            that is there though ``resume`` is not set: nothing is overwritten.
    """

    def __init__(
        self,
        *,
        manifest: SwarmManifest,
        model: ModelWrapper,
        data: Dataset,
        training: TrainingPlan,
        evaluation: Dataset | None = None,
        listen: Address | BoundSocket = ("0.0.0.0", 0),  # noqa: S104  a peer is there to be reached
        peers: Sequence[str | PeerTarget] = (),
        advertise: Sequence[Address] = (),
        identity: Identity | None = None,
        join_secret: bytes = b"",
        keylog: KeyLog | None = None,
        gossip: GossipConfig | None = None,
        aggregation: AggregationStrategy | None = None,
        topology: TopologyStrategy | None = None,
        seed: int = 0,
        peer_index: int | None = None,
        checkpoint_dir: Path | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
        emitter: EventEmitter | None = None,
    ) -> None:
        self.manifest = manifest
        self.gossip = gossip or GossipConfig()
        self.emitter = emitter or EventEmitter()
        self.identity = identity or Identity.generate(KeySource.system())
        self.training = training
        self._capabilities = _check_fits(manifest, model, (data, evaluation))
        made, policy = make_aggregation(manifest)
        stream = self.identity.peer_id if peer_index is None else peer_index
        self._topology = topology or make_topology(manifest, seed=seed, peer=stream)
        check_matches(self._topology, manifest.topology, ErrorName.ERR_NODE_TOPOLOGY_MISMATCH)
        rule = aggregation or made
        check_matches(rule, manifest.aggregation, ErrorName.ERR_NODE_AGGREGATION_MISMATCH)
        self._learner = Learner(
            model=model,
            data=data,
            evaluation=evaluation,
            aggregation=rule,
            plan=training,
            policy=policy,
            peer_id=self.identity.peer_id.hex(),
            exact_counts=manifest.data_policy.privacy_level == "relaxed",
        )
        self._listen = listen
        self._targets = [peer if isinstance(peer, PeerTarget) else PeerTarget.parse(peer) for peer in peers]
        self._advertise = tuple(advertise)
        self._join_secret = join_secret
        self._keylog = keylog
        self._checkpoint_dir = checkpoint_dir
        self._checkpoint_every = checkpoint_every
        self._round_config(training.rounds)  # checks its numbers
        self._reports: list[RoundReport] = []
        self._completed = 0
        self._seconds = 0.0
        self._unsaved: SavedNode | None = None
        self._resumed = self._restore(resume=resume)
        self._live: _Live | None = None
        self._stopping = False
        self._joining = trio.CancelScope()
        self._stack = AsyncExitStack()
        self._listeners: list[trio.MemorySendChannel[RuntimeEvent]] = []

    # -- what it is

    @property
    def peer_id(self) -> bytes:
        """The node's public key."""
        return self.identity.peer_id

    @property
    def address(self) -> Address:
        """Where the node is bound. RuntimeError while it is not open."""
        return self._open.driver.address

    @property
    def peers(self) -> tuple[PeerView, ...]:
        """The peers that have agreed, sorted by id. RuntimeError while it is not open."""
        return self._open.network.peers()

    @property
    def model(self) -> ModelWrapper:
        """The model; it changes while a round is in progress."""
        return self._learner.model

    @property
    def completed_rounds(self) -> int:
        """Rounds done, those before a resume included."""
        return self._completed

    @property
    def history(self) -> tuple[RoundReport, ...]:
        """The rounds done since the node was made."""
        return tuple(self._reports)

    # -- what it does

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Everything that happens from now on, until the node is closed or the run of `start` is over.

        An iterator that is not read keeps the newest events and loses older ones; nothing waits for it.
        """
        send, receive = trio.open_memory_channel[RuntimeEvent](_EVENTS_KEPT)
        self._listeners.append(send)

        def listen(event: RuntimeEvent) -> None:
            try:
                send.send_nowait(event)
            except trio.WouldBlock:  # nobody reads: make room by giving up the oldest
                receive.receive_nowait()
                send.send_nowait(event)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.emitter.unsubscribe(listen)

        self.emitter.subscribe(listen)
        return receive

    def start(self, rounds: int | None = None) -> None:
        """Begin `run` in the background, for callers that follow it by `events`."""

        async def work() -> None:
            await self.run(rounds)
            self._close_listeners()

        self._open.nursery.start_soon(work)

    async def run(self, rounds: int | None = None) -> RunSummary:
        """Meet the swarm, then do this many more rounds (by default all that are planned).

        Raises:
            JoinError: too few peers were met in time.
            CheckpointError, OSError: a checkpoint could not be written.
            RuntimeError: the node is not open.
        """
        live = self._open
        await self._join(live)
        start, before = trio.current_time(), len(self._reports)
        left = self.training.rounds - self._completed
        goal = self._completed + (left if rounds is None else min(rounds, left))
        try:
            if not self._stopping:
                await live.loop.run(self._round_config(goal))
        finally:
            with trio.CancelScope(shield=True):
                self._seconds += trio.current_time() - start
                await self._save()
        done = self._completed == goal
        if done:
            await live.network.delivered(timeout_s=_DELIVERY_S)
        totals = live.totals()
        return RunSummary(
            rounds=tuple(self._reports[before:]),
            updates_received=totals["updates_received"],
            updates_sent=totals["updates_sent"],
            updates_rejected=totals["updates_rejected"],
            bytes_sent=totals["bytes_sent"],
            bytes_received=totals["bytes_received"],
            seconds=self._seconds,
            completed=done,
        )

    def stop(self) -> None:
        """End `run` soon, and every later one at once.

        A round in progress does not count; what is saved is the end of the last one.
        """
        self._stopping = True
        self._joining.cancel()
        if self._live is not None:
            self._live.loop.stop()

    # -- opening and closing

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._lifespan())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        with _bound(self._listen) as bound:
            family = bound.socket.family
            bootstrap = [(target, await target.resolve(family)) for target in self._targets]
            reachable = self._advertise or reachable_addresses(bound, [address for _, address in bootstrap])
            swarm = self._make_swarm(reachable, bound)
            live: _Live | None = None
            try:
                async with open_swarm(swarm, bound) as driver, background() as nursery:
                    live = self._live = self._assemble(bound, driver, swarm, bootstrap, nursery)
                    self._announce(live, reachable)
                    await nursery.start(live.network.run)
                    yield
            finally:
                self._live = None
                if live is not None:
                    self._emit("node.stopped", self._closing_words(live))
                self._close_listeners()

    @property
    def _open(self) -> _Live:
        if self._live is None:
            raise RuntimeError("the node is not open: use 'async with'")
        return self._live

    def _make_swarm(self, addresses: Sequence[Address], bound: BoundSocket) -> Swarm:
        return Swarm(
            manifest=self.manifest,
            identity=self.identity,
            capabilities=self._capabilities,
            addresses=addresses,
            join_secret=self._join_secret,
            config=SwarmConfig(
                endpoint=EndpointConfig(
                    keylog=self._keylog,
                    connection=ConnectionConfig(mtu_discovery=bound.probes_path_mtu),
                    objects=ObjectConfig(receive_buffer_bytes=bound.receive_buffer_bytes),
                ),
                max_object_bytes=self._learner.update_bytes,
                offer_interval_s=self.gossip.offer_interval_s,
            ),
            state=None if self._resumed is None else self._resumed.swarm,
            now=trio.current_time(),
            unix_now=time.time(),
        )

    def _assemble(
        self,
        bound: BoundSocket,
        driver: UdpDriver[SwarmEvent],
        swarm: Swarm,
        bootstrap: Sequence[tuple[PeerTarget, Address]],
        nursery: trio.Nursery,
    ) -> _Live:
        network = Network(driver, swarm, bootstrap=bootstrap, emit=self._emit)
        loop = RoundLoop(
            learner=self._learner,
            network=network,
            topology=self._topology,
            context=SelectionContext(
                my_peer_id=self.peer_id.hex(),
                my_domain=self.manifest.task.type,
                my_data_schema_hash=self._learner.model.get_data_schema_hash(),
                my_manifest_id=self.manifest.swarm_id,
            ),
            fan_out=self.gossip.fan_out,
            completed_rounds=self._completed,
            emit=self._emit,
            after_round=self._after_round,
        )
        network.on_update, network.on_peers = loop.take_update, loop.peers_changed
        return _Live(bound, driver, swarm, network, loop, nursery)

    # -- rounds

    def _round_config(self, rounds: int) -> RoundConfig:
        return RoundConfig(
            rounds=rounds,
            quorum=self.gossip.quorum,
            min_collect_s=self.gossip.min_collect_s,
            collect_timeout_s=max(self.gossip.max_collect_s, self.gossip.min_collect_s),
            minimum_updates=self._learner.aggregation.minimum_updates,
        )

    async def _join(self, live: _Live) -> None:
        gossip = self.gossip
        limit_s = math.inf if gossip.join_timeout_s is None else gossip.join_timeout_s
        try:
            with trio.CancelScope() as self._joining:
                if self._stopping:
                    self._joining.cancel()
                await live.network.join(gossip.minimum_peers, timeout_s=limit_s)
        except JoinError as error:
            if not gossip.alone_ok:
                raise
            self._emit("join_failed", {"reason": str(error), "peers": len(live.network.peers())})

    async def _after_round(
        self, done: RoundCompleted, trained: TrainingResult, evaluation: dict[str, float] | None
    ) -> None:
        # A round is over with all that belongs to it or not at all, also for a run that is being cancelled.
        with trio.CancelScope(shield=True):
            await self._close_round(done, trained, evaluation)

    async def _close_round(
        self, done: RoundCompleted, trained: TrainingResult, evaluation: dict[str, float] | None
    ) -> None:
        self._completed = done.round
        totals = self._open.totals()
        report = RoundReport(
            round=done.round,
            loss=None if evaluation is None else evaluation["loss"],
            accuracy=None if evaluation is None else evaluation["accuracy"],
            train_loss=trained.final_loss,
            peers=len(self.peers),
            updates=len(done.authors),
            bytes_sent=totals["bytes_sent"],
            bytes_received=totals["bytes_received"],
            seconds=done.seconds,
        )
        self._reports.append(report)
        if self._checkpoint_dir is not None:
            swarm_state = self._open.swarm.state()
            self._unsaved = await trio.to_thread.run_sync(self._capture, swarm_state)
            if done.round % self._checkpoint_every == 0:
                await self._save()
        self._emit("round_completed", report.to_json())

    # -- checkpoints

    def _capture(self, swarm_state: Mapping[str, Any]) -> SavedNode:
        learning = {"learner": self._learner.state(), "topology": self._topology.state_dict()}
        return SavedNode(self._completed, self.manifest.swarm_id, learning, swarm_state)

    async def _save(self) -> None:
        """Write the end of the last round, unless that is done."""
        unsaved, self._unsaved = self._unsaved, None
        if unsaved is not None and self._checkpoint_dir is not None:
            await trio.to_thread.run_sync(unsaved.save, self._checkpoint_dir)

    def _restore(self, *, resume: bool) -> SavedNode | None:
        folder = self._checkpoint_dir
        if folder is None:
            if resume:
                raise CheckpointError("there is nothing to resume from without a checkpoint folder")
            return None
        if not resume:
            if found := list_checkpoints(folder):
                raise CheckpointError(
                    f"{found[-1]} is there already: resume from it, or choose another folder"
                )
            return None
        saved = load_latest(folder)
        if saved is None:
            raise CheckpointError(f"there is no checkpoint in {folder} to resume from")
        if saved.swarm_id != self.manifest.swarm_id:
            raise CheckpointError(
                f"the checkpoint in {folder} belongs to swarm {saved.swarm_id[:8]}, "
                f"not to {self.manifest.swarm_id[:8]}"
            )
        try:
            self._learner.restore(saved.learning["learner"])
            self._topology.load_state_dict(saved.learning["topology"])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"the checkpoint in {folder} does not fit this node: {error}") from error
        self._completed = saved.round
        return saved

    # -- telling

    def _emit(self, name: str, payload: Mapping[str, Any]) -> None:
        self.emitter.emit(name, {"node_id": short_id(self.peer_id), **payload})

    def _announce(self, live: _Live, reachable: Sequence[Address]) -> None:
        manifest = self.manifest
        about = {
            "peer_id": self.peer_id.hex(),
            "address": format_address(live.driver.address),
            "reachable": [format_address(address) for address in reachable],
            "swarm": manifest.name,
            "swarm_id": manifest.swarm_id,
            "model": type(self.model).__name__,
            "samples": self._learner.samples,
            "rounds": self.training.rounds,
        }
        self._emit(
            "node.config",
            {
                **about,
                "aggregation": manifest.aggregation.name,
                "topology": manifest.topology.name,
                "receive_buffer_bytes": live.bound.receive_buffer_bytes,
                "send_buffer_bytes": live.bound.send_buffer_bytes,
                "offload": live.driver.offload,
            },
        )
        self._emit("node.started", about)
        if self._resumed is not None:
            digest = self._capture({}).digest
            self._emit("node.resumed", {"round": self._completed, "digest": digest})

    def _closing_words(self, live: _Live) -> dict[str, Any]:
        last = self._reports[-1] if self._reports else None
        return {
            "rounds": self._completed,
            "completed": self._completed == self.training.rounds,
            "loss": last.loss if last else None,
            "accuracy": last.accuracy if last else None,
            "seconds": self._seconds,
            **live.totals(),
        }

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().close()


@dataclass(frozen=True, slots=True)
class _Live:
    """The parts that exist while a node is open."""

    bound: BoundSocket
    driver: UdpDriver[SwarmEvent]
    swarm: Swarm
    network: Network
    loop: RoundLoop
    nursery: trio.Nursery

    def totals(self) -> dict[str, Any]:
        """Counters since the node was opened; bytes are UDP payloads that the kernel took or gave."""
        sent = self.driver.stats
        return {
            "updates_received": self.network.stats.updates_received,
            "updates_sent": self.network.stats.updates_sent,
            "updates_rejected": self.loop.rejected.total(),
            "bytes_sent": sent.bytes_sent,
            "bytes_received": sent.bytes_received,
            "datagrams_sent": sent.datagrams_sent,
            "datagrams_received": sent.datagrams_received,
            "send_errors": dict(sent.send_errors),
            "dropped": dict(self.swarm.stats.dropped),
            "rejected": dict(self.loop.rejected),
        }


def _check_fits(
    manifest: SwarmManifest, model: ModelWrapper, data_sets: Sequence[Dataset | None]
) -> Capabilities:
    """What the model can do, if that is what the manifest wants."""
    arch_hash = compute_arch_hash(model)
    for data in data_sets:
        if data is not None:
            check_model_fits(manifest, arch_hash=arch_hash, input_shape=data.input_shape)
            _check_labels(manifest, data)
    return Capabilities(arch_hash, manifest.task.input_shape, manifest.task.output_shape)


def _check_labels(manifest: SwarmManifest, data: Dataset) -> None:
    outputs = manifest.task.output_shape
    if len(outputs) == 1 and len(data) and int(data.y.max()) >= outputs[0]:
        raise ManifestError(
            ErrorName.ERR_NODE_DATA_SHAPE_MISMATCH,
            {
                "field": "task.output_shape",
                "reason": f"the manifest has {outputs[0]} classes, {data.name} has label {int(data.y.max())}",
            },
        )


def _bound(listen: Address | BoundSocket) -> BoundSocket:
    return listen if isinstance(listen, BoundSocket) else bind_udp(listen)

"""Whole swarms in one process and in virtual time.

The members are the very objects that run on real networks, joined by fake links.

Every member stands behind the contract checker unless told otherwise, so that each step of each test also
checks the rules that all machines keep. One seed gives one run, keys included: the keys protect nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from quinkgl.crypto.identity import Identity
from quinkgl.manifest import SwarmManifest
from quinkgl.swarm import (
    Capabilities,
    PeerConnected,
    PeerDisconnected,
    Swarm,
    SwarmConfig,
    UpdateReceived,
)
from quinkgl.testing.contract import Checked
from quinkgl.testing.network import Link, Node, VirtualNetwork
from quinkgl.wire.addresses import Address

UNIX_START = 1_800_000_000.0
"""Wall-clock time at virtual time 0."""


def small_manifest(name: str = "in-memory", **more: Any) -> SwarmManifest:
    """Return the manifest of a swarm whose model takes 64 numbers and gives 10."""
    return SwarmManifest.build(
        name,
        framework="custom",
        arch_hash="sha256:" + "ab" * 32,
        input_shape=(64,),
        output_shape=(10,),
        created_at="2026-01-01T00:00:00Z",
        **more,
    )


class SwarmNetwork:
    """Members of swarms on one virtual network; member *i* lives at 10.0.i/256.i%256, port 4000."""

    def __init__(self, seed: int = 0, link: Link | None = None, *, checked: bool = True) -> None:
        self.network = VirtualNetwork(seed, link)
        self.network.gathers = True
        self.seed = seed
        self.members: list[Node] = []
        self._checked = checked

    @staticmethod
    def address(index: int) -> Address:
        """Where a member lives."""
        return (f"10.0.{index // 200}.{index % 200 + 1}", 4000)

    @staticmethod
    def identity(index: int) -> Identity:
        """Return the identity of a member: the same in every run."""
        return Identity.from_seed(index.to_bytes(32, "big"))

    def add(
        self,
        manifest: SwarmManifest | None = None,
        *,
        index: int | None = None,
        config: SwarmConfig | None = None,
        join_secret: bytes = b"",
        capabilities: Capabilities | None = None,
        state: Mapping[str, Any] | None = None,
        life: int = 0,
        unix_error_s: float = 0.0,
    ) -> Node:
        """Add a member; ``index`` puts it in the place of an earlier one, as after a restart.

        Its wall clock is ``unix_error_s`` ahead.
        """
        manifest = manifest if manifest is not None else small_manifest()
        position = len(self.members) if index is None else index
        if capabilities is None:
            capabilities = Capabilities(
                manifest.model.arch_hash, manifest.task.input_shape, manifest.task.output_shape
            )
        swarm = Swarm(
            manifest=manifest,
            identity=self.identity(position),
            capabilities=capabilities,
            addresses=(self.address(position),),
            join_secret=join_secret,
            config=config,
            state=state,
            rng=random.Random(f"{self.seed}/{position}/{life}"),  # noqa: S311 - a simulation, keys included
            insecure_deterministic_keys=True,
            now=self.network.now,
            unix_now=UNIX_START + self.network.now + unix_error_s,
        )
        machine = Checked(swarm, deep=False, now=self.network.now) if self._checked else swarm
        node = self.network.add(self.address(position), machine)
        if index is None:
            self.members.append(node)
        else:
            self.members[index] = node
        return node

    def connect(self, source: int, destination: int, *, expect: bool = False) -> None:
        """Let one member join through another, expecting its identity or not."""
        expected = self.identity(destination).peer_id if expect else None
        self.members[source].machine.connect(
            self.address(destination), expected_peer=expected, now=self.network.now
        )

    def mesh(self, count: int, *, limit_s: float = 60.0) -> None:
        """Add members that all know the first one, and run until each has met every other."""
        for _ in range(count):
            self.add()
        for index in range(1, count):
            self.connect(index, 0)
        if not self.network.run(
            lambda: all(len(n.machine.peers()) == count - 1 for n in self.members), limit_s=limit_s
        ):
            counts = [len(node.machine.peers()) for node in self.members]
            raise AssertionError(f"seed {self.seed}: members did not meet: {counts}")

    def publish(self, source: int, body: bytes, *, round: int, targets: Sequence[int] | None = None) -> bytes:
        """Let a member publish an update to others, by default to all that it knows."""
        machine = self.members[source].machine
        peers = [view.peer for view in machine.peers()]
        chosen = peers if targets is None else [self.identity(index).peer_id for index in targets]
        root: bytes = machine.publish_update(
            body, round=round, sample_count=64, targets=chosen, now=self.network.now
        )
        return root


def updates_of(node: Node) -> list[UpdateReceived]:
    """Return the updates that a member received, in order."""
    return [event for event in node.events if isinstance(event, UpdateReceived)]


def connections_of(node: Node) -> list[PeerConnected | PeerDisconnected]:
    """Return how a member's sessions came and went."""
    return [event for event in node.events if isinstance(event, PeerConnected | PeerDisconnected)]

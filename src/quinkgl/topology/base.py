"""What every topology is asked, and what it is told about the peers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from quinkgl.core.coroutines import run_without_event_loop


@dataclass(slots=True)
class PeerInfo:
    """One peer, as a topology sees it."""

    peer_id: str
    domain: str
    """What the peers learn, such as `"mnist"`; peers of other domains are never picked."""
    data_schema_hash: str
    """What the model takes, see `ModelWrapper.get_data_schema_hash`."""
    manifest_id: str | None = None
    """Swarm id (hex) of a peer that joined by a manifest."""
    model_version: str = "1.0.0"
    """`"major.minor.patch"`."""
    data_fingerprint: Any = None
    last_seen: float = field(default_factory=time.time)
    """Unix time in seconds."""
    metadata: dict[str, Any] = field(default_factory=dict)
    age: int = 0
    """Cyclon's age, in shuffles."""


@dataclass(slots=True)
class SelectionContext:
    """What a topology knows when it picks."""

    my_peer_id: str
    my_domain: str
    my_data_schema_hash: str
    known_peers: list[PeerInfo] = field(default_factory=list)
    """Peers that are connected now."""
    current_round: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    my_model_version: str = "1.0.0"
    my_manifest_id: str | None = None
    my_fingerprint: Any = None
    now: float | None = None
    """Monotonic seconds, for what depends on time; None where no time is kept."""

    def get_compatible_peers(self, exclude_self: bool = True) -> list[PeerInfo]:
        """Return the peers that weights can be exchanged with, in the order of their ids, each id once.

        If both sides have a manifest id, that decides. Otherwise domain and schema must be equal, and the
        major versions of the models. Of two entries with one id the one seen last counts.
        """
        newest: dict[str, PeerInfo] = {}
        for peer in self.known_peers:
            known = newest.get(peer.peer_id)
            if known is None or peer.last_seen >= known.last_seen:
                newest[peer.peer_id] = peer
        return [
            peer
            for peer_id, peer in sorted(newest.items())
            if self._fits(peer) and not (exclude_self and peer_id == self.my_peer_id)
        ]

    def _fits(self, peer: PeerInfo) -> bool:
        if self.my_manifest_id is not None and peer.manifest_id is not None:
            return self.my_manifest_id == peer.manifest_id
        return (
            self.my_domain == peer.domain
            and self.my_data_schema_hash == peer.data_schema_hash
            and self.my_model_version.partition(".")[0] == peer.model_version.partition(".")[0]
        )


class TopologyStrategy:
    """Picks the peers that this round's update goes to.

    A topology overrides `select`, or the published `async select_targets` if that does not wait for anything;
    the other follows. The hooks below do nothing unless they are overridden.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Refuse a class that picks nobody."""
        picks = cls.select is not TopologyStrategy.select
        if not picks and cls.select_targets is TopologyStrategy.select_targets:
            raise TypeError(f"{cls.__name__} must override select or select_targets")
        return super().__new__(cls)

    def select(self, context: SelectionContext, count: int = 3) -> list[str]:
        """Return up to `count` different ids of compatible peers, never this node's own.

        Peers that are not in `context.known_peers` are never returned.
        """
        return run_without_event_loop(self.select_targets(context, count))

    async def select_targets(self, context: SelectionContext, count: int = 3) -> list[str]:
        """Return what `select` returns, for callers that await."""
        if type(self).select is TopologyStrategy.select:
            raise NotImplementedError(f"{type(self).__name__}.select_targets must not call super()")
        return self.select(context, count)

    async def should_accept_connection(self, context: SelectionContext, peer: PeerInfo) -> bool:
        """Tell whether to stay connected with a peer that agreed on the manifest; by default always."""
        del context, peer
        return True

    async def start(self) -> None:
        """Called once before the first round."""

    async def stop(self) -> None:
        """Called once after the last round."""

    async def periodic_maintenance(self, context: SelectionContext) -> None:
        """Called once a round."""

    async def on_new_peer_discovered(self, peer: PeerInfo) -> None:
        """Called when a peer was connected and agreed on the manifest."""

    async def on_peer_disconnected(self, peer_id: str) -> None:
        """Called when a peer is gone."""

    def get_active_view(self) -> list[str]:
        """Return the ids of the peers that this topology keeps in view; none for one without a view."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """Return what evolves from round to round, as a checkpoint takes it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: it is the state of another topology.
        """
        if state:
            raise ValueError(
                f"{type(self).__name__} keeps no state, and was given {', '.join(sorted(state))}"
            )

"""What must happen once everything is healed: sessions, rounds, and the arrival of what is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quinkgl.testing.sim.plan import LEAST_COMPANY

if TYPE_CHECKING:
    from quinkgl.testing.sim.peer import Peer
    from quinkgl.testing.sim.world import World

_ROUNDS = 3
"""Rounds that each honest peer must end, with updates of others in them, after the heal.

That takes somebody who sends it any. To whom an author sends is drawn by the application: a peer that picked
nobody who stays is one of many neighbours to each of its own, and may not be drawn three times. So when time
is up, and not before, a peer that went through its rounds is excused if it lacks nothing that was sent to it:
every update that an honest peer addressed to it since the heal must have come, whatever its author was told.
Nor does anything come of an author that went through its rounds and drew others in all of them: it takes
turns among those that it has sessions with, and where these change, a turn may be missed.
"""


class Liveness:
    """Whether the good things have happened yet."""

    def __init__(self, world: World) -> None:
        self._world = world
        staying = sum(not node.misbehaviour and not node.leaves for node in world.plan.nodes)
        self._least = min(LEAST_COMPANY, staying - 1)

    def is_reached(self) -> bool:
        """Whether nothing is missing any more."""
        return not self._all_missing()

    def missing(self) -> str:
        """Say what is missing when time is up, the first few of it."""
        return "; ".join(self._all_missing(time_is_up=True)[:5])

    def _all_missing(self, *, time_is_up: bool = False) -> list[str]:
        world = self._world
        healed_at = world.plan.heal_at_s
        missing: list[str] = []
        for first, second in self.pairs():
            for here, there in ((first, second), (second, first)):
                swarm = here.swarm
                if swarm is None:
                    missing.append(f"node {here.index} is down")
                elif there.identity.peer_id not in [view.peer for view in swarm.peers()]:
                    missing.append(f"nodes {here.index} and {there.index} picked each other, no session")
                elif here.received.get(there.identity.peer_id, -1.0) < healed_at and not (
                    time_is_up and self._wrote_to_others(there, here)
                ):
                    missing.append(f"nothing of node {there.index} has come to node {here.index}")
        if world.may_offer and world.exchanging:
            missing.append("exchanges may still begin")
        for peer in world.peers.values():
            missing += [f"node {peer.index} has an exchange open with {other}" for other in self._open(peer)]
            missing += [f"node {peer.index} lists node {other} where it is not" for other in self._lost(peer)]
            if not peer.left and self.company(peer) < self._least:
                missing.append(f"node {peer.index} has {self.company(peer)} honest neighbours")
            if not peer.left:
                done = sum(1 for at in peer.productive if at > healed_at)
                excused = time_is_up and self._lacks_nothing(peer)
                if done < _ROUNDS and not excused:
                    missing.append(f"node {peer.index} has ended {done} rounds with updates")
        return missing

    def _open(self, peer: Peer) -> list[int]:
        """Return the nodes with which a peer has an exchange that must be over by now.

        One that the other side has behind it is over but for its last word. That waits for the next session,
        which this side cannot begin where a translator stands before the other.
        """
        world, found = self._world, []
        for view in () if peer.swarm is None else peer.swarm.open_exchanges():
            other = world.honest_by_id.get(view.peer)
            if other is None or other.swarm is None:
                continue
            names = [theirs.exchange for theirs in other.swarm.open_exchanges()]
            if world.address_of(other.index) is not None or view.exchange in names:
                found.append(other.index)
        return found

    def _lost(self, peer: Peer) -> list[int]:
        """Return the nodes that a peer lists with an address that they have given up."""
        lost = []
        for view in () if peer.swarm is None else peer.swarm.peers():
            other = self._world.honest_by_id.get(view.peer)
            if other is not None and other.host.is_up and not other.host.is_at(view.address):
                lost.append(other.index)
        return lost

    def _lacks_nothing(self, peer: Peer) -> bool:
        """Whether a peer has gone through its rounds, and has all that was addressed to it since the heal."""
        ended = sum(1 for at in peer.ended if at > self._world.plan.heal_at_s)
        return ended >= _ROUNDS and not self._world.watch.outstanding(peer)

    def _wrote_to_others(self, author: Peer, peer: Peer) -> bool:
        """Whether an author went through its rounds since the heal and addressed nothing to a peer."""
        ended = sum(1 for at in author.ended if at > self._world.plan.heal_at_s)
        return ended >= _ROUNDS and not self._world.watch.has_written(author, peer)

    def company(self, peer: Peer) -> int:
        """Return how many honest peers a peer has a session with."""
        views = () if peer.swarm is None else peer.swarm.peers()
        return sum(view.peer in self._world.honest_by_id for view in views)

    def pairs(self) -> list[tuple[Peer, Peer]]:
        """Return the pairs of honest peers that picked each other, and of which one can call the other."""
        world = self._world
        pairs: list[tuple[Peer, Peer]] = []
        for a, b in world.plan.picks:
            first, second = world.peers.get(a), world.peers.get(b)
            if first is None or second is None or first.left or second.left:
                continue
            if world.address_of(a) is None and world.address_of(b) is None:
                continue  # both are behind translators that let no stranger in
            pairs.append((first, second))
        return pairs

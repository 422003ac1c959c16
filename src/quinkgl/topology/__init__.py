"""Topologies: which peers a node sends its update to."""

from __future__ import annotations

from quinkgl.topology.base import PeerInfo, SelectionContext, TopologyStrategy
from quinkgl.topology.random_topology import RandomTopology

__all__ = ["PeerInfo", "RandomTopology", "SelectionContext", "TopologyStrategy"]

"""Runs of datagrams over a cable with an MTU, which loopback cannot show; see two_namespaces.py.

Needs root or user namespaces, and `ip`; without them this fails, it does not skip. `make netns` runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

_PROGRAM = Path(__file__).with_name("two_namespaces.py")


def test_runs_keep_to_the_mtu_of_a_cable_and_survive_its_changes():
    process = subprocess.run(
        [sys.executable, str(_PROGRAM)], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    steps = json.loads(process.stdout)
    print(json.dumps(steps, indent=1))
    for name, size in (
        ("at the MTU", 1472),
        ("small again", 1200),
        ("at the lowered MTU", 1372),
        ("without checksum offload", 1200),
    ):
        assert (steps[name]["datagrams"], steps[name]["sizes"]) == (120, [size]), name
        assert steps[name]["in_order"], name
        assert steps[name]["together"] > 1, name
    # Above the MTU nothing leaves, not even in fragments; each datagram is counted as lost.
    for name, lost in (("above the MTU", 120), ("above the lowered MTU", 240)):
        assert steps[name]["datagrams"] == 0, name
        assert steps[name]["lost"] == {"EMSGSIZE": lost}, name
    # ... and it is no reason to give runs up, where the kernel takes them at all.
    assert steps["at the lowered MTU"]["offload"] == steps["at the MTU"]["offload"]

"""The models really travel, over UDP and nothing else: the demo alone with a loopback interface that counts.

Needs root or user namespaces; without them these tests fail, they do not skip. `make netns` runs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

_RUNNER = Path(__file__).with_name("in_own_namespace.py")
_LIMIT_S = 60
_HEADERS = 14 + 20 + 8  # Ethernet (the loopback interface counts one), IPv4, UDP
_ICMP_ERROR = 14 + 20 + 8 + 576  # RFC 1812: an ICMP error quotes at most this much


def demo_in_namespace(*flags, out):
    demo = [sys.executable, "-m", "quinkgl_trio", "demo", "--json", "--out", str(out)]
    command = [sys.executable, str(_RUNNER), *flags, "--timeout", str(_LIMIT_S), "--", *demo]
    arguments = ["--peers", "4", "--rounds", "8", "--seed", "3"]
    process = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=2 * _LIMIT_S, check=False
    )
    assert process.returncode == 0, process.stderr
    outcome = json.loads(process.stdout)
    assert outcome["stdout"], outcome["stderr"]
    return outcome, json.loads(outcome["stdout"].splitlines()[-1])


def test_what_the_demo_claims_to_have_sent_went_over_the_interface(tmp_path):
    outcome, result = demo_in_namespace(out=tmp_path / "demo")
    moved = outcome["moved"]
    print(f"{moved}, claimed {result['bytes_sent']} bytes and {result['updates_received']} updates")
    assert outcome["returncode"] == 0, outcome["stderr"]
    assert outcome["passes"]["udp"]
    assert outcome["passes"]["tcp"]
    carried = result["updates_received"] * result["encoded_update_bytes"]
    assert moved["bytes"] >= result["bytes_sent"] >= carried > 0
    assert all(peer["updates_received"] > 0 for peer in result["peers"])
    # And there is no other way that they could have taken: nothing but these datagrams was on the interface.
    assert moved["tcp_segments"] == 0
    unexplained = moved["bytes"] - result["bytes_sent"] - _HEADERS * moved["udp_sent"]
    assert unexplained <= 100 * _ICMP_ERROR
    assert unexplained <= result["bytes_sent"] // 20


def test_without_udp_nobody_gets_an_update_and_the_demo_says_so(tmp_path):
    outcome, result = demo_in_namespace("--drop-udp", out=tmp_path / "demo")
    print(f"UDP dropped by {outcome['dropped_by']}; took {outcome['seconds']:.1f} s; {outcome['stderr']}")
    assert outcome["passes"] == {"udp": False, "udp6": False, "tcp": True}
    assert outcome["moved"]["udp_received"] == 0
    assert outcome["moved"]["tcp_segments"] == 0
    assert result["updates_received"] == 0
    assert len(result["peers"]) == 4
    for peer in result["peers"]:
        assert peer["updates_received"] == 0
        assert peer["gossip"] == peer["alone"]
    assert outcome["returncode"] == 6  # WIRE, docs/cli/index.md
    assert "Traceback" not in outcome["stderr"]

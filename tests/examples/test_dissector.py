"""The dissector explains a whole demo: no byte that a swarm sends is without a name."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quinkgl.crypto.psk import derive_member_keys
from quinkgl.serialization import encode_tensors
from quinkgl.swarm import ManifestFetched, ManifestFetcher, SwarmConfig
from quinkgl.testing.network import Link
from quinkgl.testing.pcap import CapturedDatagram, read_pcap, write_pcap
from quinkgl.testing.swarms import UNIX_START, SwarmNetwork, small_manifest, updates_of
from quinkgl.transport import ConnectionConfig, Endpoint, EndpointConfig
from quinkgl.transport.key_schedule import KeyLimits

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "dissector.py"


@pytest.fixture(scope="module")
def dissector():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("dissector", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["dissector"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["dissector"]


class Demo:
    """A small swarm that does all that it can, captured, its keys logged."""

    def __init__(self, seed=1, **link):
        self.capture = []
        self.key_log = []
        self.swarms = SwarmNetwork(seed, Link(delay_s=0.02, rate=4e6, **link), checked=False)
        self.network = self.swarms.network
        self.network.tap = self._see

    def _see(self, now, source, destination, data):
        self.capture.append(CapturedDatagram(UNIX_START + now, source, destination, bytes(data)))

    def endpoint(self, **more):
        return EndpointConfig(
            connection=ConnectionConfig(keys=KeyLimits(phase_packets=100, ratchet_s=4.0)),
            keylog=self.key_log.append,
            **more,
        )

    def run(self):
        """Meet (with a cookie), fetch, show fingerprints, send tensors both ways, move, leave."""
        self.swarms.add(config=SwarmConfig(endpoint=self.endpoint(init_rate_total_per_s=0)))
        self.swarms.add(config=SwarmConfig(endpoint=self.endpoint()))
        self.swarms.add(config=SwarmConfig(endpoint=self.endpoint()))
        self._fetch()
        self._ask_in_another_version()
        self.swarms.connect(1, 0)
        self.swarms.connect(2, 0)
        members = self.swarms.members
        assert self.network.run(lambda: all(len(m.machine.peers()) == 2 for m in members), limit_s=60)
        members[0].machine.set_fingerprint(b"what the data look like", 1, now=self.network.now)
        members[1].machine.request_fingerprint(self.swarms.identity(0).peer_id, now=self.network.now)
        rng = np.random.default_rng(1)
        for round_number in (1, 2):
            for index in range(len(members)):
                weights = {
                    "layer.weight": rng.standard_normal((64, 200 if index else 6000)).astype(np.float32),
                    "layer.bias": np.zeros(10 + index, np.float32),
                    "steps": np.array(round_number),
                }
                self.swarms.publish(index, encode_tensors(weights), round=round_number)
            done = 2 * round_number * len(members)
            assert self.network.run(
                lambda done=done: sum(len(updates_of(member)) for member in members) == done, limit_s=60
            )
            self.network.run(limit_s=3.0)
            self.network.translate(self.swarms.address(1))
            self.network.rebind(self.swarms.address(1))
        for member in members:
            member.machine.close(now=self.network.now)
        self.network.run(limit_s=10.0)
        return self

    def _fetch(self):
        fetcher = ManifestFetcher(
            swarm_id=bytes.fromhex(small_manifest().manifest_hash()),
            peers=[(self.swarms.address(2), None)],
            config=EndpointConfig(keylog=self.key_log.append),
            rng=random.Random(7),
            insecure_deterministic_keys=True,
            now=self.network.now,
        )
        node = self.network.add(("10.9.9.9", 4000), fetcher)
        assert self.network.run(lambda: fetcher.drained, limit_s=10)
        assert isinstance(node.events[-1], ManifestFetched)

    def _ask_in_another_version(self):
        stranger = Endpoint(
            identity=self.swarms.identity(9),
            keys=derive_member_keys(small_manifest().canonical_bytes()),
            config=EndpointConfig(versions=(2, 1), keylog=self.key_log.append),
            rng=random.Random(9),
            insecure_deterministic_keys=True,
            now=self.network.now,
        )
        self.network.add(("10.9.9.8", 4000), stranger)
        stranger.connect(self.swarms.address(1), now=self.network.now)
        self.network.run(limit_s=1.0)
        stranger.close(now=self.network.now)
        self.network.run(limit_s=1.0)


@pytest.fixture(scope="module")
def demo():
    return Demo().run()


EXPECTED = {
    "long, INIT",
    "long, RESP",
    "long, FIN",
    "long, COOKIE",
    "long, VERSION_NEGOTIATION",
    "short, frames, key phase bit 0",
    "short, frames, key phase bit 1",
    "short, bulk, key phase bit 0",
    "short, bulk, key phase bit 1",
}
NAMES = {
    *("NEW_CID connection id", "RETIRE_CID sequence", "PATH_CHALLENGE data", "PATH_RESPONSE data"),
    *("PADDING", "PING type", "ACK largest", "CONTROL data", "MAX_DATA limit", "CLOSE code"),
    *("HELLO.arch_hash", "AGREE, map head", "GET.swarm_id", "PIECE.data", "REQUEST.nonce", "ANSWER.body"),
    *("OFFER.root", "OFFER.header signed.round", "WANT.ranges, array head", "DONE.transfer"),
    *("RECORDS.records[0] signed.ttl", "ANSWER.statement signed.verifier"),
    *("EXCHANGE_OFFER.public", "EXCHANGE_REPLY.answer"),
    *("hash of leaf 0", "tensor 0 shape", "elements of 'layer.weight'", "elements of 'steps'"),
}


def test_no_byte_of_a_captured_demo_is_unexplained(dissector, demo):
    found = dissector.Dissector(demo.key_log)
    found.run(read_pcap(write_pcap(demo.capture)))
    assert dict(found.unexplained_bytes()) == {}
    assert sum(len(packet.captured.data) for packet in found.packets) > 500_000
    tiled = [(packet.captured.data, packet.fields) for packet in found.packets]
    tiled += [(packet.plaintext, packet.inside) for packet in found.packets if packet.opened]
    tiled += [(data, fields) for _, data, fields in found.layers]
    for data, fields in tiled:
        assert [field.start for field in fields] == [0, *(field.stop for field in fields[:-1])]
        assert fields[-1].stop == len(data)
    forms = {packet.fields[0].text for packet in found.packets}
    assert forms >= EXPECTED
    assert max(len(packet.captured.data) for packet in found.packets) > 9000  # the path took more
    names = {field.name for _, fields in tiled for field in fields}
    assert names >= NAMES, sorted(NAMES - names)
    assert not any("kind" in name and "channel" in name for name in names)


def test_without_keys_the_headers_are_explained_and_the_rest_is_counted(dissector, demo):
    found = dissector.Dissector()
    found.run(demo.capture)
    left = found.unexplained_bytes()
    assert set(left) == {"packets that no key opens"}
    assert left.total() > 400_000


def test_a_byte_that_is_changed_is_noticed(dissector, demo):
    position = next(i for i, d in enumerate(demo.capture) if len(d.data) > 1000 and d.data[0] & 0xD0 == 0x50)
    changed = bytearray(demo.capture[position].data)
    changed[-20] ^= 1
    capture = list(demo.capture)
    capture[position] = capture[position]._replace(data=bytes(changed))
    found = dissector.Dissector(demo.key_log)
    found.run(capture)
    assert found.unexplained_bytes().total() > 0


@pytest.mark.parametrize("seed", range(3))
def test_damaged_captures_are_explained_as_far_as_they_go(dissector, demo, seed):
    rng = random.Random(seed)
    capture = [datagram for datagram in demo.capture[:1500] if rng.random() > 0.1]
    rng.shuffle(capture)
    for position in range(0, len(capture), 7):
        data = bytearray(capture[position].data)
        del data[rng.randrange(len(data)) :]
        capture[position] = capture[position]._replace(data=bytes(data))
    found = dissector.Dissector(demo.key_log)
    found.run(capture)
    assert found.unexplained_bytes().total() > 0, f"seed {seed}"


def test_the_program_prints_what_it_found(demo, tmp_path):
    capture, key_log = tmp_path / "demo.pcap", tmp_path / "keys.txt"
    capture.write_bytes(write_pcap(demo.capture))
    key_log.write_text("# a comment\n" + "\n".join(demo.key_log) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(capture), str(key_log)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "0 bytes unexplained"
    assert any("OFFER.header signed.round: 1" in line for line in lines)


def test_it_needs_the_wire_and_one_call_of_crypto_alone():
    text = SCRIPT.read_text(encoding="utf-8")
    imports = [line.split()[1] for line in text.splitlines() if line.startswith("from quinkgl")]
    allowed = ("quinkgl.wire.", "quinkgl.crypto.packet_keys", "quinkgl.testing.pcap")
    assert all(name.startswith(allowed) for name in imports)

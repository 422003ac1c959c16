"""Fetching a manifest over real sockets, and `run` by a link."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from quinkgl.cli import CliError, ExitCode
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.manifest import (
    ErrorName,
    MagnetLink,
    ManifestError,
    for_model,
    keygen,
    sign_manifest,
)
from quinkgl.models import NumPyModel
from quinkgl.swarm import Capabilities, Swarm
from quinkgl_trio.bootstrap import PeerTarget
from quinkgl_trio.driver import open_swarm
from quinkgl_trio.manifest_fetching import fetch_manifest
from quinkgl_trio.run_setup import SwarmLink, manifest_source, read_manifest
from quinkgl_trio.sockets import bind_udp

PEM, _ = keygen()
MODEL = NumPyModel.softmax(64, 10)
PLAIN = for_model(
    MODEL, name="by-link", input_shape=(8, 8), output_shape=(10,), created_at="2026-01-01T00:00:00Z"
)
MANIFEST = sign_manifest(PLAIN, PEM)
SWARM_ID = bytes.fromhex(MANIFEST.manifest_hash())
LISTEN = ("127.0.0.1", 0)


def member(manifest=MANIFEST, join_secret=b""):
    return Swarm(
        manifest=manifest,
        identity=Identity.generate(KeySource.system()),
        capabilities=Capabilities(manifest.model.arch_hash, (8, 8), (10,)),
        join_secret=join_secret,
        now=trio.current_time(),
        unix_now=time.time(),
    )


async def fetch(peers, *, swarm_id=SWARM_ID, timeout_s=20.0, join_secret=b""):
    """Call from a thread of its own, as the command does from its main thread."""
    call = partial(
        fetch_manifest, swarm_id, peers, listen=LISTEN, join_secret=join_secret, timeout_s=timeout_s
    )
    return await trio.to_thread.run_sync(call)


@pytest.mark.parametrize("secret", [b"", b"open sesame"])
async def test_a_signed_manifest_comes_over_real_sockets(secret):
    with bind_udp(LISTEN) as bound:
        async with open_swarm(member(join_secret=secret), bound):
            target = PeerTarget("localhost", bound.address[1])
            assert await fetch([target], join_secret=secret) == MANIFEST


async def test_the_peer_that_was_named_must_be_there():
    with bind_udp(LISTEN) as bound:
        async with open_swarm(member(), bound):
            with pytest.raises(CliError, match="E_HS_IDENTITY") as caught:
                await fetch([PeerTarget("127.0.0.1", bound.address[1], bytes(31) + b"\x05")])
    assert caught.value.exit_code is ExitCode.TRUST


async def test_silence_is_told_with_its_likely_causes():
    with bind_udp(LISTEN) as bound, pytest.raises(CliError, match="nobody listens") as caught:
        await fetch([PeerTarget("127.0.0.1", bound.address[1])], timeout_s=0.3)
    assert caught.value.exit_code is ExitCode.WIRE
    assert "\n" not in str(caught.value)


def test_there_must_be_somebody_to_ask():
    with pytest.raises(CliError, match="needs a peer"):
        fetch_manifest(SWARM_ID, [], listen=LISTEN, join_secret=b"", timeout_s=1)


def flags(**given):
    names = ("manifest", "swarm_id", "swarm", "aggregation", "aggregation_param", "topology")
    named = dict.fromkeys((*names, "topology_param", "trusted_pubkey", "join_timeout"))
    return argparse.Namespace(**(named | given))


def test_what_the_flags_name():
    link = MagnetLink(SWARM_ID, bootstrap_peers=("192.0.2.1:7000",))
    assert manifest_source(flags()) is None
    assert manifest_source(flags(manifest="some.qgl")) == Path("some.qgl")
    assert manifest_source(flags(swarm_id=SWARM_ID.hex())) == SwarmLink(SWARM_ID)
    expected = SwarmLink(SWARM_ID, (PeerTarget("192.0.2.1", 7000),))
    assert manifest_source(flags(manifest=str(link))) == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"manifest": "a", "swarm_id": "00"}, "exclude each other"),
        ({"swarm_id": "00" * 32, "topology": "Ring"}, "exclude each other"),
        ({"swarm_id": "XY"}, "64 lower-case hex digits"),
        ({"trusted_pubkey": ["ed25519:00"]}, "needs --manifest"),
        ({"manifest": str(MagnetLink(SWARM_ID, bootstrap_peers=("nowhere",)))}, "HOST:PORT"),
    ],
)
def test_flags_that_make_no_sense(given, says):
    with pytest.raises(CliError, match=says):
        manifest_source(flags(**given))


@pytest.mark.req("H-039")
def test_a_creator_that_is_not_trusted_is_refused(tmp_path):
    path = tmp_path / "signed.qgl"
    path.write_bytes(MANIFEST.to_json())
    read = partial(read_manifest, path, [], listen=LISTEN, secret=b"")
    assert read(flags(trusted_pubkey=[MANIFEST.creator_pubkey])) == MANIFEST
    with pytest.raises(ManifestError) as caught:
        read(flags(trusted_pubkey=["ed25519:" + "00" * 32]))
    assert caught.value.code is ErrorName.ERR_CREATOR_NOT_TRUSTED
    assert read_manifest(None, [], flags(), listen=LISTEN, secret=b"") is None


async def test_a_run_by_link_fetches_and_joins():
    with bind_udp(LISTEN) as bound:
        machine = member()
        async with open_swarm(machine, bound):
            link = MagnetLink(SWARM_ID, bootstrap_peers=(f"127.0.0.1:{bound.address[1]}",))
            done = await trio.run_process(
                [
                    *(sys.executable, "-m", "quinkgl_trio", "run", "--quiet", "--data=digits"),
                    *("--model=softmax", "--listen=127.0.0.1:0", "--rounds=1", "--epochs=1", "--quorum=1"),
                    *("--max-collect=0.2", "--min-collect=0.1", f"--manifest={link}"),
                    f"--trusted-pubkey={MANIFEST.creator_pubkey}",
                ],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
    assert done.returncode == 0, done.stderr
    assert machine.stats.manifests_served == 1
    assert machine.stats.updates_received == 1

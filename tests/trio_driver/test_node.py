"""`Node` over real loopback sockets: what it learns, what it refuses, what it keeps."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import numpy as np
import pytest
import trio

from quinkgl.aggregation import FedAvg
from quinkgl.crypto.identity import Identity
from quinkgl.crypto.keys import KeySource
from quinkgl.data import load_digits, partition_dirichlet, stratified_split
from quinkgl.manifest import ManifestError, StrategySpec, for_model
from quinkgl.models import NumPyModel
from quinkgl.serialization import encode_tensors
from quinkgl.storage import CheckpointError, list_checkpoints
from quinkgl.swarm import Capabilities, Swarm, hash_object
from quinkgl_trio.checkpointing import load_latest
from quinkgl_trio.driver import open_swarm
from quinkgl_trio.network import JoinError, Network
from quinkgl_trio.node import GossipConfig, Node
from quinkgl_trio.sockets import bind_udp
from quinkgl_trio.training import TrainingPlan

TRAIN, TEST = stratified_split(load_digits(), 0.25, seed=0)
SHARDS = partition_dirichlet(TRAIN.y, 3, alpha=0.5, seed=0).shards


def fresh_model(peer=0):
    return NumPyModel.mlp(64, 32, 10, seed=0, peer=peer)


MANIFEST = for_model(
    fresh_model(),
    name="node test",
    input_shape=(8, 8),
    output_shape=(10,),
    created_at="2026-01-01T00:00:00Z",
)
ALONE = GossipConfig(minimum_peers=0)
QUICK = GossipConfig(offer_interval_s=0.0, min_collect_s=0.05, max_collect_s=2.0, quorum=1)


def make_node(index=0, *, rounds=4, **more):
    settings = {
        "manifest": MANIFEST,
        "model": fresh_model(index),
        "data": TRAIN.subset(SHARDS[index]),
        "evaluation": TEST,
        "training": TrainingPlan(rounds=rounds),
        "listen": ("127.0.0.1", 0),
        "gossip": QUICK,
        "peer_index": index,
    }
    return Node(**(settings | more))


def place(node):
    return "{}:{}".format(*node.address)


def record(node):
    events = []
    node.emitter.subscribe(lambda event: events.append((event.event_type, dict(event.payload))))
    return events


def same_weights(one, two):
    first, second = one.get_weights(), two.get_weights()
    return all(np.array_equal(first[name], second[name]) for name in first)


# -- learning together


async def test_two_nodes_exchange_models_and_both_get_better():
    first = make_node(0, rounds=12)
    heard = record(first)
    async with first:
        second = make_node(1, rounds=12, peers=[place(first)])
        async with second, trio.open_nursery() as nursery:
            nursery.start_soon(first.run)
            summary = await second.run()
    alone = fresh_model(1)
    for round in range(1, 13):
        alone.fit(TRAIN.subset(SHARDS[1]), TrainingPlan(rounds=12).config(round))
    assert summary.completed
    assert [report.round for report in summary.rounds] == list(range(1, 13))
    assert summary.updates_received >= 8
    assert summary.bytes_sent > summary.updates_sent * len(encode_tensors(alone.get_weights()))
    assert summary.last.accuracy > alone.evaluate(TEST)["accuracy"] + 0.03
    names = [name for name, _ in heard]
    expected = ["node.config", "node.started", "peer_discovered", "round_started", "training_started"]
    assert [name for name in names if name in expected][:5] == expected
    assert names[-1] == "node.stopped"
    for name in ("training_completed", "targets_selected", "model_send_started", "model_sent"):
        assert name in names
    for name in ("model_received", "aggregation_completed", "post_aggregation_eval", "round_completed"):
        assert name in names
    assert heard[-1][1]["rounds"] == 12
    assert heard[-1][1]["updates_sent"] == first.history[-1].round


async def test_a_run_can_be_followed_by_its_events():
    async with make_node(gossip=ALONE) as node:
        node.start()
        with trio.fail_after(60):
            heard = [event async for event in node.events()]
    completed = [event for event in heard if event.event_type == "round_completed"]
    assert [event.payload["round"] for event in completed] == [1, 2, 3, 4]


async def test_events_that_nobody_reads_hold_nothing_up_and_the_newest_stay():
    async with make_node(gossip=ALONE, rounds=250) as node:
        unread = node.events()
        with trio.fail_after(30):
            await node.run()
    kept = [event async for event in unread]
    assert len(kept) <= 1024
    assert kept[-1].event_type == "node.stopped"


async def test_rounds_can_be_done_in_pieces():
    async with make_node(gossip=ALONE, rounds=5) as node:
        first = await node.run(rounds=2)
        second = await node.run()
    assert [report.round for report in first.rounds] == [1, 2]
    assert [report.round for report in second.rounds] == [3, 4, 5]
    whole = make_node(gossip=ALONE, rounds=5)
    async with whole:
        await whole.run()
    assert same_weights(node.model, whole.model)


async def test_alone_a_node_does_exactly_what_plain_training_does():
    async with make_node(gossip=ALONE) as node:
        await node.run()
    plain = fresh_model()
    for round in range(1, 5):
        plain.fit(TRAIN.subset(SHARDS[0]), TrainingPlan(rounds=4).config(round))
    assert same_weights(node.model, plain)


# -- joining


async def test_nobody_there_is_an_error_or_not_as_told():
    with bind_udp(("127.0.0.1", 0)) as free:
        nowhere = "{}:{}".format(*free.address)
    strict = replace(QUICK, join_timeout_s=0.3)
    async with make_node(peers=[nowhere], gossip=strict) as node:
        with pytest.raises(JoinError, match="no answer"):
            await node.run()
    assert not node.history
    lenient = make_node(peers=[nowhere], gossip=replace(strict, alone_ok=True))
    heard = record(lenient)
    async with lenient:
        summary = await lenient.run()
    assert summary.completed
    assert "join_failed" in [name for name, _ in heard]


# -- refusals before anything is opened


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": NumPyModel.mlp(64, 33, 10)}, "ERR_NODE_ARCH_MISMATCH"),
        ({"model": NumPyModel.softmax(64, 10)}, "ERR_NODE_ARCH_MISMATCH"),
        ({"data": replace(TRAIN, input_shape=(64,))}, "ERR_NODE_DATA_SHAPE_MISMATCH"),
        ({"evaluation": replace(TEST, input_shape=(4, 16))}, "ERR_NODE_DATA_SHAPE_MISMATCH"),
        (
            {"data": replace(TRAIN, y=TRAIN.y + 1, num_classes=11)},
            "ERR_NODE_DATA_SHAPE_MISMATCH",
        ),
        (
            {"manifest": replace(MANIFEST, aggregation=StrategySpec("Krum", {}))},
            "ERR_MANIFEST_FIELD_INVALID",
        ),
        (
            {"manifest": replace(MANIFEST, topology=StrategySpec("Random", {"sede": 1}))},
            "ERR_MANIFEST_FIELD_INVALID",
        ),
    ],
    ids=["hidden", "layers", "data shape", "test shape", "labels", "rule", "parameter"],
)
def test_what_does_not_fit_the_manifest_is_refused_before_a_socket_is_opened(change, code, monkeypatch):
    def no_socket(*_args, **_more):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(ManifestError) as error:
        make_node(**change)
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_another_rule_than_the_manifests_is_refused():
    class Median(FedAvg):
        pass

    with pytest.raises(ManifestError) as error:
        make_node(aggregation=Median())
    assert error.value.code == "ERR_NODE_AGGREGATION_MISMATCH"


def test_a_node_that_is_not_open_says_so():
    with pytest.raises(RuntimeError, match="async with"):
        make_node().peers  # noqa: B018


# -- bad updates


async def test_bad_updates_are_dropped_and_charged_and_the_round_survives():
    node = make_node(rounds=12, gossip=replace(QUICK, min_collect_s=0.2, minimum_peers=0))
    heard = record(node)
    weights = fresh_model().get_weights()
    broken = dict(weights)
    broken["layers.0.bias"] = np.full_like(weights["layers.0.bias"], np.nan)
    async with node:
        with bind_udp(("127.0.0.1", 0)) as bound:
            attacker = Swarm(
                manifest=MANIFEST,
                identity=Identity.generate(KeySource.system()),
                capabilities=Capabilities(MANIFEST.model.arch_hash, (8, 8), (10,)),
                addresses=(bound.address,),
                now=trio.current_time(),
                unix_now=time.time(),
            )
            async with open_swarm(attacker, bound) as driver, trio.open_nursery() as nursery:
                network = Network(driver, attacker, bootstrap=[], emit=lambda *_: None)
                await nursery.start(network.run)
                driver.call(lambda now: attacker.connect(node.address, now=now))
                await network.join(1, timeout_s=60)
                nursery.start_soon(node.run)
                for round in range(1, 4):
                    body = encode_tensors(broken | {"layers.1.bias": np.full(10, round, np.float32)})
                    network.publish(
                        hash_object(body), round=round, sample_count=64, targets=[node.peer_id], metadata={}
                    )
                    await network.delivered(timeout_s=60)
                with trio.fail_after(60):
                    while network.peers():  # noqa: ASYNC110
                        await trio.sleep(0.02)
                with trio.fail_after(60):
                    while len(node.history) < 12:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                nursery.cancel_scope.cancel()
    charges = [payload for name, payload in heard if name == "security.update_rejected"]
    assert [charge["code"] for charge in charges] == ["E_OBJ_VALUE"] * 3
    assert {charge["peer"] for charge in charges} == {attacker.peer_id.hex()}
    assert heard[-1][1]["rejected"] == {"E_OBJ_VALUE": 3}
    assert all(np.isfinite(array).all() for array in node.model.get_weights().values())
    assert node.history[-1].accuracy > 0.5


# -- stopping, saving, going on


async def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    folder = tmp_path / "state"
    async with make_node(gossip=ALONE, rounds=6, checkpoint_dir=folder) as begun:
        await begun.run(rounds=3)
    saved = load_latest(folder)
    resumed = make_node(gossip=ALONE, rounds=6, checkpoint_dir=folder, resume=True)
    heard = record(resumed)
    async with resumed:
        assert resumed.completed_rounds == 3
        await resumed.run()
    whole = make_node(gossip=ALONE, rounds=6, checkpoint_dir=tmp_path / "other")
    async with whole:
        await whole.run()
    words = dict(heard)["node.resumed"]
    assert (words["round"], words["digest"]) == (3, saved.digest)
    assert same_weights(resumed.model, whole.model)
    assert load_latest(folder).digest == load_latest(tmp_path / "other").digest


async def test_stopping_saves_the_end_of_the_last_round(tmp_path):
    node = make_node(gossip=ALONE, rounds=100_000, checkpoint_dir=tmp_path, checkpoint_every=1000)
    async with node, trio.open_nursery() as nursery:

        async def stop_soon():
            while node.completed_rounds < 5:  # noqa: ASYNC110
                await trio.sleep(0.01)
            node.stop()

        nursery.start_soon(stop_soon)
        with trio.fail_after(60):
            summary = await node.run()
    assert not summary.completed
    saved = load_latest(tmp_path)
    assert saved.round == node.completed_rounds == summary.last.round >= 5
    other = make_node(gossip=ALONE, rounds=100_000, checkpoint_dir=tmp_path, resume=True)
    assert other.completed_rounds == saved.round


async def test_cancelling_a_run_saves_too_and_leaves_no_thread_at_work(tmp_path):
    node = make_node(gossip=ALONE, rounds=100_000, checkpoint_dir=tmp_path, checkpoint_every=1000)
    async with node:
        with trio.move_on_after(0.5) as scope:
            await node.run()
        before = node.model.get_weights()
        await trio.sleep(0.1)
        after = node.model.get_weights()
    assert scope.cancelled_caught
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert load_latest(tmp_path).round == node.completed_rounds > 0


async def test_stopping_while_joining_ends_at_once():
    node = make_node(gossip=replace(QUICK, join_timeout_s=None))
    async with node, trio.open_nursery() as nursery:

        async def stop_soon():
            await trio.sleep(0.05)
            node.stop()

        nursery.start_soon(stop_soon)
        with trio.fail_after(60):
            summary = await node.run()
    assert not summary.completed
    assert summary.rounds == ()


async def test_checkpoints_are_never_overwritten_or_mixed_up(tmp_path):
    async with make_node(gossip=ALONE, rounds=2, checkpoint_dir=tmp_path) as node:
        await node.run()
    with pytest.raises(CheckpointError, match="resume from it, or choose another folder"):
        make_node(checkpoint_dir=tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        make_node(checkpoint_dir=tmp_path / "empty", resume=True)
    with pytest.raises(CheckpointError, match="belongs to swarm"):
        make_node(manifest=replace(MANIFEST, name="other"), checkpoint_dir=tmp_path, resume=True)
    newest = list_checkpoints(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=newest.name):
        make_node(checkpoint_dir=tmp_path, resume=True)

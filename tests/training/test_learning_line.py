"""The learning side as one line, without a network: peers that see few classes learn all of them together."""

from __future__ import annotations

import numpy as np
import pytest

from quinkgl.aggregation import FedAvg, ModelUpdate, admit
from quinkgl.core import signature
from quinkgl.data import load_digits, partition_dirichlet, stratified_split
from quinkgl.models import NumPyModel, TrainingConfig
from quinkgl.serialization import decode_tensors_untrusted, encode_tensors
from quinkgl.storage import Checkpoint, decode_checkpoint, encode_checkpoint
from quinkgl.topology import PeerInfo, RandomTopology, SelectionContext
from quinkgl.training import (
    AggregateRequested,
    EvaluateRequested,
    PublishRequested,
    RoundCompleted,
    RoundConfig,
    RoundMachine,
    RunCompleted,
    TrainRequested,
)

LEARNING_RATE = 0.5


def config(round_number, rounds):
    rate = LEARNING_RATE * (1 - (round_number - 1) / rounds)
    return TrainingConfig(epochs=2, learning_rate=rate, optimizer="sgd")


class Peer:
    """A node without a network: what its machine asks for is done at once."""

    def __init__(self, index, shard, names, rounds, seed):
        self.index, self.name, self.shard, self.rounds = index, names[index], shard, rounds
        self.model = NumPyModel.mlp(64, 32, 10, seed=seed, peer=index)
        self.topology = RandomTopology(seed, peer=index)
        self.known = [PeerInfo(name, "digits", "s") for name in names if name != self.name]
        self.machine = RoundMachine(RoundConfig(rounds=rounds, quorum=3, collect_timeout_s=1.0), now=0.0)
        self.machine.set_live_peers(len(self.known), now=0.0)
        self.machine.start(now=0.0)
        self.over = False
        self.saved = {}

    def state(self):
        return {
            "model": self.model.state_dict(),
            "topology": self.topology.state_dict(),
            "rounds": self.machine.state_dict(),
        }

    def restore(self, state, now):
        self.model.load_state_dict(state["model"])
        self.topology.load_state_dict(state["topology"])
        config = self.machine.config
        self.machine = RoundMachine(config, **state["rounds"], now=now)
        self.machine.set_live_peers(len(self.known), now=now)
        self.machine.start(now=now)

    def own(self):
        return ModelUpdate(self.name, self.model.get_weights(), sample_count=len(self.shard))

    def act(self, event, now, send):
        if isinstance(event, TrainRequested):
            self.model.fit(self.shard, config(event.round, self.rounds))
            self.machine.training_finished(now=now)
        elif isinstance(event, PublishRequested):
            context = SelectionContext(self.name, "digits", "s", self.known, event.round)
            send(self.topology.select(context, 3), encode_tensors(self.model.get_weights()), event.round)
            self.machine.publishing_finished(now=now)
        elif isinstance(event, AggregateRequested):
            updates = [pending.update for pending in event.updates]
            admission = admit(updates, self.own())
            assert not admission.rejected
            mixed = FedAvg().aggregate_sync(admission.accepted, own=admission.own)
            self.model.set_weights(mixed.weights)
            self.machine.aggregation_finished(now=now)
        elif isinstance(event, EvaluateRequested):
            self.machine.evaluation_finished(now=now)
        elif isinstance(event, RoundCompleted):
            self.saved[event.round] = encode_checkpoint(Checkpoint(event.round, self.state()))
        self.over = self.over or isinstance(event, RunCompleted)

    def take(self, author, body, count, round_number, now):
        expected = signature(self.model.get_weights())
        weights = decode_tensors_untrusted(body, expected=expected, max_bytes=len(body))
        update = ModelUpdate(author, weights, sample_count=count, round_number=round_number)
        self.machine.update_received(author.encode(), update, position=(0, round_number), now=now)


class Network:
    """Peers in virtual time; messages are delivered between events, in order."""

    def __init__(self, shards, rounds, seed):
        self.names = [f"peer-{index}" for index in range(len(shards))]
        self.peers = [Peer(index, shard, self.names, rounds, seed) for index, shard in enumerate(shards)]
        self.now = 0.0
        self.mail = []

    def step(self):
        """Let every peer do what is asked for now, deliver, then move time to the next deadline."""
        busy = True
        while busy:
            busy = False
            for peer in self.peers:
                if (event := peer.machine.next_event()) is not None:
                    peer.act(
                        event, self.now, lambda *letter, sender=peer: self.mail.append((sender, *letter))
                    )
                    busy = True
            for sender, targets, body, round_number in self.mail:
                for target in targets:
                    receiver = self.peers[self.names.index(target)]
                    receiver.take(sender.name, body, len(sender.shard), round_number, self.now)
            self.mail.clear()
        deadlines = [d for peer in self.peers if (d := peer.machine.deadline()) is not None]
        self.now = min(deadlines, default=self.now)
        for peer in self.peers:
            peer.machine.handle_timer(now=self.now)

    def run(self):
        while not all(peer.over for peer in self.peers):
            self.step()
        return [peer.model for peer in self.peers]


def shards_and_test(alpha, peers, seed):
    train, test = stratified_split(load_digits(), 0.25, seed=seed)
    partition = partition_dirichlet(train.y, peers, alpha=alpha, seed=seed)
    return train, [train.subset(shard) for shard in partition.shards], test


def accuracy_alone(shard, rounds, seed, index, test):
    model = NumPyModel.mlp(64, 32, 10, seed=seed, peer=index)
    for round_number in range(1, rounds + 1):
        model.fit(shard, config(round_number, rounds))
    return model.evaluate(test)["accuracy"]


@pytest.mark.parametrize(("alpha", "least", "most"), [(0.5, 0.15, 1.0), (1000.0, 0.0, 0.08)])
def test_together_peers_learn_what_each_of_them_lacks(alpha, least, most):
    rounds, seed = 15, 0
    print(f"reproduce with: alpha={alpha}, rounds={rounds}, seed={seed}")
    train, shards, test = shards_and_test(alpha, 6, seed)
    together = [model.evaluate(test)["accuracy"] for model in Network(shards, rounds, seed).run()]
    alone = [accuracy_alone(shard, rounds, seed, index, test) for index, shard in enumerate(shards)]
    central = accuracy_alone(train, rounds, seed, None, test)
    assert least <= np.mean(together) - np.mean(alone) <= most
    assert central - np.mean(together) < 0.06
    assert np.mean(together) - min(together) < 0.04


def weights_of(models):
    return [{name: array.tobytes() for name, array in model.get_weights().items()} for model in models]


def test_the_same_seed_gives_the_same_bits():
    _, shards, _ = shards_and_test(0.5, 4, 1)
    first, second = (weights_of(Network(shards, 4, 1).run()) for _ in range(2))
    assert first == second
    assert first != weights_of(Network(shards, 4, 2).run())


def test_a_network_resumed_from_checkpoints_equals_one_that_was_never_interrupted():
    _, shards, _ = shards_and_test(0.5, 3, 1)
    # Three peers with a fan-out of 3 reach each other every round, so no update waits between two rounds.
    whole = weights_of(Network(shards, 6, 1).run())
    network = Network(shards, 6, 1)
    assert weights_of(network.run()) == whole
    states = [peer.saved[3] for peer in network.peers]
    resumed = Network(shards, 6, 9)
    for peer, state in zip(resumed.peers, states, strict=True):
        peer.restore(decode_checkpoint(state).state, 0.0)
    assert [peer.machine.round for peer in resumed.peers] == [4, 4, 4]
    assert weights_of(resumed.run()) == whole

"""Three peers train one model over an in-memory network, in virtual time: no sockets, no threads, no waiting.

Each peer has its own shard of the bundled digits, most of it from a few classes, and shows it to nobody. In
each round a peer trains, publishes its weights to all that it knows, and averages its own with what came. The
swarms, their handshakes and their encryption are the real ones; only the network is not.
"""

from __future__ import annotations

import numpy as np

from quinkgl.core.weights import Weights
from quinkgl.data import Dataset, load_digits, partition_dirichlet, stratified_split
from quinkgl.models import NumPyModel, TrainingConfig
from quinkgl.serialization import decode_tensors_untrusted, encode_tensors, signature
from quinkgl.testing.network import Link
from quinkgl.testing.swarms import SwarmNetwork, updates_of

PEERS, ROUNDS, SEED = 3, 8, 1
ROUND_S = 3.0
CONFIG = TrainingConfig(epochs=3, batch_size=32, learning_rate=0.1)


def weighted_mean(counts: list[int], models: list[Weights]) -> Weights:
    """Average models, each by the number of samples behind it."""
    return {
        name: np.average([model[name] for model in models], axis=0, weights=counts).astype(np.float32)
        for name in models[0]
    }


def accuracy_alone(shard: Dataset, test: Dataset) -> float:
    """Return what a peer reaches by itself, with the same number of steps."""
    model = NumPyModel.softmax(shard.features, shard.num_classes, seed=SEED)
    for _ in range(ROUNDS):
        model.fit(shard, CONFIG)
    return model.evaluate(test)["accuracy"]


def accuracies_together(shards: list[Dataset], test: Dataset) -> list[float]:
    """Return what each peer reaches with the others."""
    models = [NumPyModel.softmax(shard.features, shard.num_classes, seed=SEED) for shard in shards]
    expected = signature(models[0].get_weights())
    swarms = SwarmNetwork(SEED, Link(delay_s=0.02, loss=0.02))
    swarms.mesh(PEERS)
    for round_number in range(1, ROUNDS + 1):
        for node, model, shard in zip(swarms.members, models, shards, strict=True):
            model.fit(shard, CONFIG)
            node.machine.publish_update(
                encode_tensors(model.get_weights()),
                round=round_number,
                sample_count=len(shard),
                targets=[view.peer for view in node.machine.peers()],
                now=swarms.network.now,
            )
        swarms.network.run(limit_s=ROUND_S)
        for node, model, shard in zip(swarms.members, models, shards, strict=True):
            came = [update for update in updates_of(node) if update.header.round == round_number]
            bodies = [decode_tensors_untrusted(u.body, expected=expected, max_bytes=1 << 20) for u in came]
            counts = [len(shard), *(update.header.sample_count for update in came)]
            model.set_weights(weighted_mean(counts, [model.get_weights(), *bodies]))
    print(f"{PEERS} peers, {ROUNDS} rounds, {swarms.network.now:.1f} s of virtual time")
    return [model.evaluate(test)["accuracy"] for model in models]


def main() -> None:
    """Train, and print for each peer what it knows alone and what with the others."""
    train, test = stratified_split(load_digits(), seed=SEED)
    partition = partition_dirichlet(train.y, PEERS, alpha=0.2, seed=SEED)
    shards = [train.subset(indices) for indices in partition.shards]
    together = accuracies_together(shards, test)
    for index, (shard, accuracy) in enumerate(zip(shards, together, strict=True)):
        alone = accuracy_alone(shard, test)
        print(f"peer {index}: {len(shard)} samples, alone {alone:.3f}, together {accuracy:.3f}")


if __name__ == "__main__":
    main()

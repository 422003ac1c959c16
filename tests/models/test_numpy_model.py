"""The NumPy classifiers: right gradients, equal bits from equal seeds, a state that goes on where it was."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from quinkgl.data import load_digits, stratified_split
from quinkgl.models import NumPyModel, TrainingConfig
from quinkgl.models.optimizers import SGD, Adam

RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 50)
OPTIMIZERS = [
    pytest.param("sgd", None, id="sgd"),
    pytest.param("sgd", {"momentum": 0.9, "weight_decay": 0.01}, id="momentum"),
    pytest.param("adam", {"betas": (0.8, 0.95), "weight_decay": 0.01}, id="adam"),
]


def mlp(**options):
    return NumPyModel.mlp(6, 5, 3, **options)


def same(left, right):
    return all(np.array_equal(left[name], right[name]) for name in left) and list(left) == list(right)


@pytest.mark.parametrize("layers", [(6, 3), (6, 5, 3), (6, 5, 4, 3)])
@pytest.mark.parametrize("mu", [None, 0.5], ids=["plain", "proximal"])
def test_one_step_follows_the_numerical_gradient(layers, mu):
    model = NumPyModel(layers, seed=1)
    start = {name: RNG.standard_normal(w.shape).astype(np.float32) for name, w in model.get_weights().items()}
    anchor = {name: w + np.float32(0.3) for name, w in start.items()}
    model.set_weights(start)
    rate = 1e-3
    config = TrainingConfig(
        batch_size=50, learning_rate=rate, proximal_coefficient=mu, global_weights=anchor if mu else None
    )
    model.fit((X, Y), config)
    moved = model.get_weights()

    def loss(weights):
        a = X.astype(np.float64)
        for layer in range(len(layers) - 1):
            a = (np.maximum(a, 0) if layer else a) @ weights[f"layers.{layer}.weight"]
            a = a + weights[f"layers.{layer}.bias"]
        a = a - a.max(1, keepdims=True)
        cross_entropy = (np.log(np.exp(a).sum(1)) - a[np.arange(50), Y]).mean()
        return cross_entropy + (mu or 0) / 2 * sum(np.square(weights[n] - anchor[n]).sum() for n in anchor)

    wide = {name: w.astype(np.float64) for name, w in start.items()}
    for name, w in wide.items():
        for index in np.ndindex(w.shape):
            ends = []
            for step in (1e-6, -1e-6):
                w[index] += step
                ends.append(loss(wide))
                w[index] -= step
            gradient = (ends[0] - ends[1]) / 2e-6
            assert (start[name][index] - moved[name][index]) / rate == pytest.approx(gradient, abs=2e-3)


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
def test_training_equals_that_of_pytorch(optimizer, options):
    torch = pytest.importorskip("torch")
    model = mlp(seed=3)
    w = {name: torch.tensor(array, requires_grad=True) for name, array in model.get_weights().items()}
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    theirs = kind(w.values(), lr=0.05, **(options or {}))
    config = TrainingConfig(
        batch_size=50, learning_rate=0.05, optimizer=optimizer, optimizer_kwargs=options, grad_clip_norm=0.5
    )
    for _ in range(20):
        model.fit((X, Y), config)
        theirs.zero_grad()
        hidden = torch.relu(torch.tensor(X) @ w["layers.0.weight"] + w["layers.0.bias"])
        logits = hidden @ w["layers.1.weight"] + w["layers.1.bias"]
        torch.nn.functional.cross_entropy(logits, torch.tensor(Y)).backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 0.5)
        theirs.step()
    for name, array in model.get_weights().items():
        assert np.abs(array - w[name].detach().numpy()).max() < 2e-5


def test_equal_seeds_start_alike_and_peers_see_examples_in_their_own_order():
    first, second = mlp(seed=4, peer=0), mlp(seed=4, peer=1)
    assert same(first.get_weights(), second.get_weights())
    assert not same(first.get_weights(), mlp(seed=5, peer=0).get_weights())
    first.fit((X, Y))
    second.fit((X, Y))
    assert not same(first.get_weights(), second.get_weights())
    again = mlp(seed=4, peer=0)
    again.fit((X, Y))
    assert same(first.get_weights(), again.get_weights())


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
@pytest.mark.parametrize("interrupted_after", [0, 1, 3])
def test_a_restored_model_trains_to_the_same_bits(optimizer, options, interrupted_after):
    configs = [
        TrainingConfig(2, 7, 0.1 / (1 + step), optimizer=optimizer, optimizer_kwargs=options)
        for step in range(5)
    ]
    whole, model = mlp(seed=1, peer=2), mlp(seed=1, peer=2)
    for step, config in enumerate(configs):
        if step == interrupted_after:
            state = model.state_dict()
            model = mlp(seed=9)
            model.load_state_dict(state)
            twice = mlp(seed=8)
            twice.load_state_dict(model.state_dict())
            model = twice
        expected = whole.fit((X, Y), config)
        assert model.fit((X, Y), config) == expected
    assert same(whole.get_weights(), model.get_weights())
    assert str(whole.state_dict()) == str(model.state_dict())


def test_a_state_is_a_copy():
    model = mlp()
    config = TrainingConfig(optimizer="adam")
    model.fit((X, Y), config)
    state, text = model.state_dict(), str(model.state_dict())
    model.fit((X, Y), config)
    assert str(state) == text


def test_another_optimizer_starts_afresh():
    model, fresh = mlp(), mlp()
    momentum = TrainingConfig(optimizer="sgd", optimizer_kwargs={"momentum": 0.9})
    model.fit((X, Y), momentum)
    fresh.load_state_dict({**model.state_dict(), "optimizer": None})
    adam = TrainingConfig(optimizer=Adam)
    assert model.fit((X, Y), adam) == fresh.fit((X, Y), adam)
    assert same(model.get_weights(), fresh.get_weights())


def test_an_instance_keeps_its_state_even_through_a_checkpoint():
    whole, model = mlp(), mlp()
    one, other = SGD(momentum=0.5), SGD(momentum=0.5)
    for _ in range(2):
        whole.fit((X, Y), TrainingConfig(optimizer=one))
        model.fit((X, Y), TrainingConfig(optimizer=other))
    restored = mlp(seed=3)
    restored.load_state_dict(model.state_dict())
    whole.fit((X, Y), TrainingConfig(optimizer=one))
    restored.fit((X, Y), TrainingConfig(optimizer=SGD(momentum=0.5)))
    assert same(whole.get_weights(), restored.get_weights())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": {}}, "layers.0.weight is missing"),
        ({"rng": {}}, "not a state of PCG64"),
        ({"rng": None}, "'rng' is a NoneType"),
        ({"optimizer": {"name": "sgd"}}, "'settings' is missing"),
        (
            {"optimizer": {"name": "sgd", "settings": {}, "steps": 1, "slots": {"velocity": {}}}},
            "velocity does not fit",
        ),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change, text):
    model = mlp()
    model.fit((X, Y))
    before = str(model.state_dict())
    with pytest.raises(ValueError, match=text):
        model.load_state_dict({**model.state_dict(), **change})
    assert str(model.state_dict()) == before


def test_no_proximal_term_and_one_of_zero_are_the_same_bits():
    plain, zero, pulled = mlp(), mlp(), mlp()
    plain.fit((X, Y), TrainingConfig(3))
    zero.fit((X, Y), TrainingConfig(3, proximal_coefficient=0.0))
    pulled.fit((X, Y), TrainingConfig(3, proximal_coefficient=5.0))
    assert same(plain.get_weights(), zero.get_weights())
    assert not same(plain.get_weights(), pulled.get_weights())


def test_a_strong_proximal_term_holds_the_model_at_its_start():
    free, held = mlp(), mlp()
    start = free.get_weights()
    free.fit((X, Y), TrainingConfig(20, learning_rate=0.05))
    held.fit((X, Y), TrainingConfig(20, learning_rate=0.05, proximal_coefficient=10.0))

    def distance(model):
        return sum(float(np.square(w - start[name]).sum()) for name, w in model.get_weights().items())

    assert distance(held) < 0.05 * distance(free)


def test_weights_are_copies_and_are_replaced_whole_or_not_at_all():
    model = mlp()
    weights = model.get_weights()
    weights["layers.0.bias"][0] = 7
    assert model.get_weights()["layers.0.bias"][0] == 0
    model.set_weights(dict(reversed(weights.items())))
    assert model.get_weights()["layers.0.bias"][0] == 7
    assert list(model.get_weights()) == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"layers.0.bias": None}, "layers.0.bias is missing"),
        ({"extra": np.zeros(1)}, "extra is unknown"),
        ({"layers.0.bias": np.zeros(4, np.float32)}, r"layers.0.bias has shape \[4\], not \[5\]"),
        ({"layers.0.bias": np.zeros(5)}, "layers.0.bias has dtype float64, not float32"),
        ({"layers.1.bias": np.array([0, np.nan, 0], np.float32)}, "layers.1.bias holds NaN"),
        ({"layers.1.bias": np.array([0, np.inf, 0], np.float32)}, "layers.1.bias holds NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, text):
    model = mlp()
    before = model.get_weights()
    ones = {name: np.ones_like(w) for name, w in before.items()}
    changed = {name: w for name, w in {**ones, **change}.items() if w is not None}
    with pytest.raises(ValueError, match=text):
        model.set_weights(changed)
    assert same(model.get_weights(), before)


def test_results_tell_epochs_loss_accuracy_and_samples():
    model, told = mlp(), []
    config = TrainingConfig(3, learning_rate=0.1, on_epoch_end=lambda epoch, loss: told.append((epoch, loss)))
    result = model.fit((X, Y), config)
    assert (result.epochs_completed, result.samples_trained) == (3, 50)
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    assert told[-1][1] == result.final_loss < told[0][1]
    assert 0 < result.final_accuracy <= 1
    assert asyncio.run(model.train((X, Y), config)).epochs_completed == 3


def test_evaluation_is_exact_in_any_number_of_batches():
    model = NumPyModel.softmax(1, 2)
    model.set_weights(
        {"layers.0.weight": np.array([[0.0, 1.0]], np.float32), "layers.0.bias": np.zeros(2, np.float32)}
    )
    x = np.tile(np.array([[np.log(3.0)], [-np.log(3.0)]], np.float32), (1500, 1))
    y = np.tile([1, 1], 1500)
    measured = model.evaluate((x, y))
    assert measured["accuracy"] == 0.5
    assert measured["loss"] == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2, rel=1e-6)


def test_divergence_shows_in_the_loss_and_raises_no_warning():
    result = mlp().fit((X, Y), TrainingConfig(20, learning_rate=1e30))
    assert not np.isfinite(result.final_loss)


@pytest.mark.parametrize(
    ("data", "config", "text"),
    [
        ((X[:, :5], Y), None, "5 features, the model takes 6"),
        ((X, Y + 1), None, "labels must be whole numbers from 0 to 2"),
        ((X, Y - 1), None, "labels must be whole numbers from 0 to 2"),
        ((X, Y.astype(float)), None, "labels must be whole numbers"),
        ((X[:0], Y[:0]), None, "are empty"),
        ((X, Y), TrainingConfig(loss_fn=abs), "loss_fn must be None"),
        ((X, Y), TrainingConfig(optimizer="adamm"), "no optimizer 'adamm'; possible are sgd, adam"),
        ((X, Y), TrainingConfig(optimizer=dict), "no optimizer"),
        ((X, Y), TrainingConfig(optimizer_kwargs={"beta": 1}), "optimizer_kwargs of SGD: .*'beta'"),
        ((X, Y), TrainingConfig(optimizer_kwargs={"momentum": 1.0}), "must lie in"),
        ((X, Y), TrainingConfig(optimizer="adam", optimizer_kwargs={"eps": 0.0}), "must lie in"),
        ((X, Y), TrainingConfig(proximal_coefficient=1.0, global_weights={}), "is missing"),
    ],
)
def test_what_it_cannot_follow_is_refused(data, config, text):
    model = mlp()
    before = str(model.state_dict())
    with pytest.raises(ValueError, match=text):
        model.fit(data, config)
    assert str(model.state_dict()) == before


def test_other_refusals():
    with pytest.raises(ValueError, match="at least two sizes"):
        NumPyModel((3,))
    with pytest.raises(ValueError, match="at least two sizes"):
        NumPyModel((3, 0))
    with pytest.raises(ValueError, match="loss_fn must be None"):
        mlp().evaluate((X, Y), abs)


def test_the_schema_hash_depends_on_features_and_classes_alone():
    assert mlp().get_data_schema_hash() == NumPyModel.softmax(6, 3).get_data_schema_hash()
    assert mlp().get_data_schema_hash() != NumPyModel.softmax(6, 4).get_data_schema_hash()


@pytest.mark.parametrize("kind", ["softmax", "mlp"])
def test_it_learns_the_digits(kind):
    train, test = stratified_split(load_digits(), seed=0)
    model = NumPyModel.softmax(64, 10) if kind == "softmax" else NumPyModel.mlp(64, 32, 10)
    assert model.evaluate(test)["accuracy"] < 0.3
    model.fit(train, TrainingConfig(30, learning_rate=0.5))
    assert model.evaluate(test)["accuracy"] > 0.95

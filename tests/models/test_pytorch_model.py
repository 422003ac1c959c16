"""PyTorch modules as nodes use them: strict weights, their own streams, a state that goes on to the bit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from quinkgl.data import load_digits, stratified_split
from quinkgl.models import NumPyModel, PyTorchModel, TrainingConfig
from quinkgl.storage import Checkpoint, decode_checkpoint, encode_checkpoint

torch = pytest.importorskip("torch")
nn = torch.nn

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 40)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads cost more than they give for networks of this size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def wrapped(seed=0, **options):
    return PyTorchModel(network(seed), **{"seed": 1, **options})


def same(left, right):
    return list(left) == list(right) and all(np.array_equal(left[name], right[name]) for name in left)


OPTIMIZERS = [
    pytest.param(None, None, id="default"),
    pytest.param("sgd", {"momentum": 0.9}, id="sgd"),
    pytest.param(torch.optim.RMSprop, None, id="class"),
]


def test_the_schema_hash_is_the_published_one():
    assert PyTorchModel(nn.Linear(2, 3)).get_data_schema_hash() == "08aef7351f65fe2c"


def test_importing_models_does_not_load_torch():
    code = "import sys, quinkgl.models as m; m.NumPyModel.softmax(2, 2); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "False\n"


def test_a_missing_torch_is_answered_with_how_to_install_it():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import quinkgl.models as m\n"
        "try: m.PyTorchModel\n"
        "except ImportError as error: print(error)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "PyTorchModel needs 'torch', which is not installed: pip install 'quinkgl[torch]'\n"


def test_weights_are_copies_of_parameters_and_buffers_and_modes_stay():
    model = wrapped()
    model.model[1].eval()
    modes = [module.training for module in model.model.modules()]
    weights = model.get_weights()
    assert list(weights) == list(model.model.state_dict())
    assert weights["1.num_batches_tracked"].shape == ()
    weights["0.bias"][:] = 9
    assert not (model.get_weights()["0.bias"] == 9).any()
    model.set_weights(weights)
    assert (model.get_weights()["0.bias"] == 9).all()
    model.fit((X, Y))
    model.evaluate((X, Y))
    assert (
        [module.training for module in model.model.modules()]
        == modes
        == [True, True, False, True, True, True]
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"0.bias": None}, "0.bias is missing"),
        ({"extra": np.zeros(1)}, "extra is unknown"),
        ({"0.bias": np.zeros(7, np.float32)}, r"0.bias has shape \[7\], not \[8\]"),
        ({"0.bias": np.zeros(8)}, "0.bias has dtype float64, not float32"),
        ({"1.num_batches_tracked": np.array(1.0)}, "has dtype float64, not int64"),
        ({"4.bias": np.array([0, np.nan, 0], np.float32)}, "4.bias holds NaN or infinity"),
        ({"1.running_var": np.full(8, np.inf, np.float32)}, "1.running_var holds NaN or infinity"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, text):
    model = wrapped()
    before = model.get_weights()
    ones = {name: np.ones_like(w) for name, w in before.items()}
    with pytest.raises(ValueError, match=text):
        model.set_weights({name: w for name, w in {**ones, **change}.items() if w is not None})
    assert same(model.get_weights(), before)


def test_read_only_weights_are_taken_without_a_warning(recwarn):
    model, weights = wrapped(), wrapped(seed=5).get_weights()
    for array in weights.values():
        array.flags.writeable = False
    model.set_weights(weights)
    assert same(model.get_weights(), weights)
    assert not recwarn.list


def test_bfloat16_is_refused_by_name():
    model = PyTorchModel(nn.Linear(2, 2).to(torch.bfloat16))
    with pytest.raises(ValueError, match=r"weight is torch\.bfloat16"):
        model.get_weights()


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
@pytest.mark.parametrize("interrupted_after", [0, 1, 2])
def test_a_restored_model_trains_to_the_same_bits_with_dropout(optimizer, options, interrupted_after):
    configs = [
        TrainingConfig(2, 7, 0.02 / (1 + step), optimizer=optimizer, optimizer_kwargs=options)
        for step in range(4)
    ]
    whole, model = wrapped(peer=3), wrapped(peer=3)
    for step, config in enumerate(configs):
        if step == interrupted_after:
            state = decode_checkpoint(encode_checkpoint(Checkpoint(step, model.state_dict()))).state
            torch.manual_seed(99)
            model = wrapped(seed=7, peer=8)
            model.load_state_dict(state)
            twice = wrapped(seed=6)
            twice.load_state_dict(model.state_dict())
            model = twice
        torch.rand(3)  # somebody else draws in between
        expected = whole.fit((X, Y), config)
        torch.rand(5)
        assert model.fit((X, Y), config) == expected
    assert same(whole.get_weights(), model.get_weights())


def test_training_leaves_the_global_generator_alone():
    model = wrapped()
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    model.fit((X, Y))
    assert torch.rand(2).tolist() == expected


def test_without_a_seed_the_global_one_decides():
    results = []
    for seed in (1, 1, 2):
        module = network(0)
        torch.manual_seed(seed)
        results.append(PyTorchModel(module).fit((X, Y)).final_loss)
    assert results[0] == results[1] != results[2]


def test_a_data_loader_is_iterated_once_an_epoch_and_resumes_too():
    dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    whole, model = wrapped(), wrapped()
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
    first = whole.fit(loader, TrainingConfig(2))
    assert first.samples_trained == 40
    assert model.fit(loader, TrainingConfig(2)) == first
    restored = wrapped(seed=4)
    restored.load_state_dict(model.state_dict())
    assert restored.fit(loader) == whole.fit(loader)
    assert same(restored.get_weights(), whole.get_weights())
    assert whole.evaluate(loader)["accuracy"] == whole.evaluate((X, Y))["accuracy"]


def test_an_optimizer_is_kept_and_its_learning_rate_follows_the_configuration():
    model, reference = PyTorchModel(nn.Linear(6, 3), seed=1), nn.Linear(6, 3)
    reference.load_state_dict(model.model.state_dict())
    theirs = torch.optim.Adam(reference.parameters())
    for rate in (0.1, 0.05, 0.01):
        model.fit((X, Y), TrainingConfig(batch_size=40, learning_rate=rate))
        theirs.param_groups[0]["lr"] = rate
        theirs.zero_grad()
        nn.functional.cross_entropy(reference(torch.tensor(X)), torch.tensor(Y)).backward()
        theirs.step()
    for mine, other in zip(model.model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_an_instance_is_used_as_it_is():
    model = PyTorchModel(nn.Linear(6, 3), seed=1)
    before = model.get_weights()
    frozen = torch.optim.SGD(model.model.parameters(), lr=0.0)
    model.fit((X, Y), TrainingConfig(learning_rate=5.0, optimizer=frozen))
    assert same(model.get_weights(), before)
    assert frozen.param_groups[0]["lr"] == 0.0


def test_another_optimizer_than_the_saved_one_starts_afresh_and_says_so(caplog):
    model, restored = wrapped(), wrapped()
    model.fit((X, Y))
    restored.load_state_dict(model.state_dict())
    restored.fit((X, Y), TrainingConfig(optimizer="sgd"))
    assert "the saved Adam is dropped" in caplog.text


def test_the_proximal_term_has_the_paper_s_gradient():
    mu, rate = 0.7, 0.1
    results = []
    for coefficient in (None, 0.0, mu):
        model = PyTorchModel(nn.Linear(6, 3), seed=1)
        model.set_weights({"weight": np.ones((3, 6), np.float32), "bias": np.zeros(3, np.float32)})
        anchor = {"weight": np.zeros((3, 6), np.float32), "bias": np.ones(3, np.float32)}
        model.fit(
            (X, Y),
            TrainingConfig(
                1, 40, rate, optimizer="sgd", proximal_coefficient=coefficient, global_weights=anchor
            ),
        )
        results.append(model.get_weights())
    assert same(results[0], results[1])
    for name, start, point in (("weight", 1, 0), ("bias", 0, 1)):
        assert np.allclose(results[0][name] - results[2][name], rate * mu * (start - point), atol=1e-6)


def test_the_proximal_term_is_anchored_at_the_start_by_default():
    held, free = wrapped(), wrapped()
    start = held.get_weights()
    for model, mu in ((held, 50.0), (free, None)):
        model.fit((X, Y), TrainingConfig(10, learning_rate=0.01, optimizer="sgd", proximal_coefficient=mu))

    def distance(model):
        return np.abs(model.get_weights()["0.weight"] - start["0.weight"]).max()

    assert distance(held) < 0.3 * distance(free)


def test_gradients_are_clipped():
    model = PyTorchModel(nn.Linear(6, 3), seed=1)
    before = model.get_weights()
    model.fit((X, Y), TrainingConfig(1, 40, 1.0, optimizer="sgd", grad_clip_norm=1e-3))
    moved = sum(float(np.square(w - before[name]).sum()) for name, w in model.get_weights().items()) ** 0.5
    assert moved == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(("count", "batch_size"), [(33, 8), (9, 8), (3, 2)])
def test_a_single_example_left_over_does_not_break_batch_normalisation(count, batch_size):
    model, sizes = wrapped(), []
    model.model[0].register_forward_hook(lambda _module, inputs, _outputs: sizes.append(len(inputs[0])))
    model.fit((X[:count], Y[:count]), TrainingConfig(batch_size=batch_size))
    assert sum(sizes) == count
    assert sizes[-1] == batch_size + 1
    assert set(sizes[:-1]) <= {batch_size}


def test_a_loss_function_for_regression():
    model = PyTorchModel(nn.Linear(6, 1), seed=1)
    target = (X @ np.arange(6, dtype=np.float32))[:, None]

    def squared(outputs, y):
        return ((outputs - y) ** 2).mean()

    result = model.fit((X, target), TrainingConfig(200, 40, 0.1, loss_fn=squared))
    assert result.final_accuracy is None
    assert model.evaluate((X, target), squared) == {"loss": pytest.approx(0.0, abs=0.1)}


def test_evaluation_does_not_train_or_draw():
    model = wrapped()
    before = str(model.state_dict())
    torch.manual_seed(0)
    first, second = model.evaluate((X, Y)), model.evaluate((torch.tensor(X), torch.tensor(Y)))
    assert first == second
    assert str(model.state_dict()) == before


@pytest.mark.parametrize(
    ("data", "config", "text"),
    [
        ((X[:0], Y[:0]), None, "are empty"),
        ([], None, "must be"),
        (iter([]), None, "hold no examples"),
        ((X, Y), TrainingConfig(optimizer="adamm"), "no optimizer 'adamm'"),
        ((X, Y), TrainingConfig(optimizer=dict), "no optimizer"),
        ((X, Y), TrainingConfig(optimizer_kwargs={"lr": 1.0}), "must not hold lr"),
        ((X, Y), TrainingConfig(optimizer_kwargs={"momentun": 1.0}), "optimizer_kwargs of Adam"),
        ((X, Y), TrainingConfig(proximal_coefficient=1.0, global_weights={}), "is missing"),
    ],
)
def test_what_it_cannot_follow_is_refused(data, config, text):
    with pytest.raises(ValueError, match=text):
        wrapped().fit(data, config)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"weights": {}}, "0.weight is missing"),
        ({"order": {}}, "not a state of PCG64"),
        ({"optimizer": {}}, "'kind' is missing"),
        ({"noise": {"seed": 1, "states": [b"short"]}}, "those of another device"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change, text):
    model = wrapped()
    model.fit((X, Y))
    before = str(model.state_dict())
    with pytest.raises(ValueError, match=text):
        model.load_state_dict({**model.state_dict(), **change})
    assert str(model.state_dict()) == before


def test_both_kinds_of_models_see_examples_in_the_same_order():
    """Equal seeds and weights give equal training, so that results of both can be compared."""
    ours = NumPyModel.softmax(6, 3, seed=5, peer=1)
    theirs = PyTorchModel(nn.Linear(6, 3), seed=5, peer=1)
    theirs.set_weights({"weight": np.zeros((3, 6), np.float32), "bias": np.zeros(3, np.float32)})
    config = TrainingConfig(3, 8, 0.1, optimizer="sgd")
    ours.fit((X, Y), config)
    theirs.fit((X, Y), config)
    assert np.allclose(ours.get_weights()["layers.0.weight"], theirs.get_weights()["weight"].T, atol=1e-6)


def test_it_learns_the_digits():
    from quinkgl.models.torch_zoo import build_mlp

    train, test = stratified_split(load_digits(), seed=0)
    model = PyTorchModel(build_mlp(train.input_shape, 10), seed=0)
    model.fit(train, TrainingConfig(8, learning_rate=0.01))
    assert model.evaluate(test)["accuracy"] > 0.95

"""Networks for the demo: shapes, and the same weights from the same seed."""

from __future__ import annotations

import pytest

from quinkgl.models.torch_zoo import build_cnn, build_mlp

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("build", [build_mlp, build_cnn])
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (3, 32, 20), (1, 5, 7)])
def test_flat_and_shaped_examples_give_the_same_logits(build, shape):
    network = build(shape, 10)
    x = torch.rand(4, *shape)
    assert network(x).shape == (4, 10)
    assert torch.equal(network(x), network(x.flatten(1)))


@pytest.mark.parametrize("build", [build_mlp, build_cnn])
def test_the_seed_alone_decides_the_weights(build):
    def first_weights(seed):
        return next(build((8, 8), 10, seed=seed).parameters())

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = first_weights(4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(first_weights(4), one)
    assert not torch.equal(first_weights(5), one)


@pytest.mark.parametrize("shape", [(64,), (3, 8), (1, 1, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="at least 4 × 4 pixels"):
        build_cnn(shape, 10)

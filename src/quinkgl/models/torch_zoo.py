"""Two small PyTorch classifiers for images and tables, the same for every peer with the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from quinkgl.core.seeds import Purpose, generator


def build_mlp(input_shape: Sequence[int], classes: int, *, hidden: int = 64, seed: int = 0) -> nn.Module:
    """Return a perceptron with one hidden layer; takes (n, features) or (n, *input_shape)."""
    features = math.prod(input_shape)
    return _seeded(
        seed,
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes)
        ),
    )


def build_cnn(input_shape: Sequence[int], classes: int, *, seed: int = 0) -> nn.Module:
    """Return a convolutional network for images of (height, width) or (channels, height, width).

    Two 3 × 3 convolutions with 16 and 32 channels, each followed by ReLU, and by 2 × 2 max pooling where the
    image is at least 16 pixels high and wide (the second one always), then a hidden layer of 64. Takes
    (n, features), as data sets are stored, or (n, *input_shape).

    Raises:
        ValueError: the shape is not that of an image of at least 4 × 4 pixels.
    """
    if len(input_shape) not in (2, 3) or min(input_shape[-2:]) < 4:
        raise ValueError(
            f"a convolutional network needs images of at least 4 × 4 pixels, not {list(input_shape)}"
        )
    height, width = input_shape[-2:]
    channels = input_shape[0] if len(input_shape) == 3 else 1
    pool_first = min(height, width) >= 16
    shrink = 4 if pool_first else 2

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Flatten(),
            nn.Unflatten(1, (channels, height, width)),
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2) if pool_first else nn.Identity(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (height // shrink) * (width // shrink), 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )

    return _seeded(seed, build)


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a module with initial weights that the seed decides; the global generator stays as it is."""
    outer = torch.get_rng_state()
    torch.default_generator.manual_seed(int(generator(seed, Purpose.INIT).integers(2**63)))
    try:
        return build()
    finally:
        torch.set_rng_state(outer)

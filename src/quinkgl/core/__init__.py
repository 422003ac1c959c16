"""What every part of the learning side uses: weights, their signatures, seeds, coroutines without a loop."""

from __future__ import annotations

from quinkgl.core.coroutines import run_without_event_loop
from quinkgl.core.seeds import Purpose, generator, generator_state, restore_generator, seed_sequence
from quinkgl.core.weights import Signature, TensorSpec, Weights, signature, signature_difference

__all__ = [
    "Purpose",
    "Signature",
    "TensorSpec",
    "Weights",
    "generator",
    "generator_state",
    "restore_generator",
    "run_without_event_loop",
    "seed_sequence",
    "signature",
    "signature_difference",
]

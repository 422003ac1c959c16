"""Weights as bytes: the flat tensor format of the wire and of checkpoints."""

from __future__ import annotations

from quinkgl.core.weights import Signature, TensorSpec, Weights, signature, signature_difference
from quinkgl.serialization.tensors import decode_tensors_untrusted, encode_tensors, encoded_size

__all__ = [
    "Signature",
    "TensorSpec",
    "Weights",
    "decode_tensors_untrusted",
    "encode_tensors",
    "encoded_size",
    "signature",
    "signature_difference",
]

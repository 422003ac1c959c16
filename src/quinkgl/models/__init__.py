"""Models: what a node trains, evaluates and exchanges, whatever the framework.

PyTorch is loaded when `PyTorchModel` or a network of `quinkgl.models.torch_zoo` is first used, never before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quinkgl.models.base import ModelWrapper, TrainingConfig, TrainingResult
from quinkgl.models.numpy_model import NumPyModel

if TYPE_CHECKING:
    from quinkgl.models.pytorch_model import PyTorchModel

__all__ = ["ModelWrapper", "NumPyModel", "PyTorchModel", "TrainingConfig", "TrainingResult"]


def __getattr__(name: str) -> Any:
    """Load `PyTorchModel` on first use.

    Raises:
        AttributeError: there is no such name.
        ImportError: PyTorch is not installed; the message says how to install it.
    """
    if name != "PyTorchModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from quinkgl.models.pytorch_model import PyTorchModel
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "torch":
            raise
        raise ImportError(
            "PyTorchModel needs 'torch', which is not installed: pip install 'quinkgl[torch]'", name="torch"
        ) from error
    return PyTorchModel

"""QuinkGL: peers train one model together over their own encrypted transport, with no server.

Every public name is importable from here and is loaded on first use (PEP 562), so that `import quinkgl` loads
no event loop, no deep-learning framework and no SciPy. A name whose package is an optional extra raises
ImportError with the `pip install` line where the extra is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quinkgl._exports import EXPORTS, EXTRAS
from quinkgl._version import __version__

if TYPE_CHECKING:  # the same names for type checkers; tests/test_exports.py keeps the two lists equal
    from quinkgl.aggregation import AggregatedModel as AggregatedModel
    from quinkgl.aggregation import AggregationStrategy as AggregationStrategy
    from quinkgl.aggregation import FedAvg as FedAvg
    from quinkgl.aggregation import ModelUpdate as ModelUpdate
    from quinkgl.crypto.identity import Identity as Identity
    from quinkgl.manifest import MANIFEST_SCHEMA_VERSION as MANIFEST_SCHEMA_VERSION
    from quinkgl.manifest import CollaborationPolicy as CollaborationPolicy
    from quinkgl.manifest import DataPolicy as DataPolicy
    from quinkgl.manifest import ManifestError as ManifestError
    from quinkgl.manifest import PersonalizationPolicy as PersonalizationPolicy
    from quinkgl.manifest import PrototypePolicy as PrototypePolicy
    from quinkgl.manifest import SwarmManifest as SwarmManifest
    from quinkgl.manifest import check_compatibility as check_compatibility
    from quinkgl.manifest import compute_arch_hash as compute_arch_hash
    from quinkgl.models import ModelWrapper as ModelWrapper
    from quinkgl.models import NumPyModel as NumPyModel
    from quinkgl.models import PyTorchModel as PyTorchModel
    from quinkgl.models import TrainingConfig as TrainingConfig
    from quinkgl.models import TrainingResult as TrainingResult
    from quinkgl.observability import EventEmitter as EventEmitter
    from quinkgl.observability import RuntimeEvent as RuntimeEvent
    from quinkgl.observability import TerminalObserver as TerminalObserver
    from quinkgl.observability import format_runtime_event as format_runtime_event
    from quinkgl.swarm import Swarm as Swarm
    from quinkgl.topology import PeerInfo as PeerInfo
    from quinkgl.topology import RandomTopology as RandomTopology
    from quinkgl.topology import SelectionContext as SelectionContext
    from quinkgl.topology import TopologyStrategy as TopologyStrategy

__all__ = ["__version__", *EXPORTS]  # noqa: PLE0604  the table holds names only; a test walks every one


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it.

    Raises:
        AttributeError: there is no such public name.
        ImportError: the name needs an extra that is not installed; the message says how to install it.
    """
    module_name = EXPORTS.get(name)
    if module_name is None:
        raise AttributeError(f"module 'quinkgl' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing)
        if extra is None:
            raise
        raise ImportError(
            f"quinkgl.{name} needs {missing!r}, which is not installed: pip install 'quinkgl[{extra}]'",
            name=missing,
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Names for completion: the public ones and what is loaded already."""
    return sorted({*globals(), *EXPORTS})

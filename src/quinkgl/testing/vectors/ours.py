"""This implementation as an adapter: each family's operations, by name.

The modules beside this one hold the operations. Each takes the inputs of a test as they stand in the file and
returns intermediates and outputs; it raises the implementation's own exception where the chapters refuse the
inputs, or :class:`Refused` where the implementation says so by other means.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from quinkgl.testing.vectors.core import UnsupportedOperation
from quinkgl.wire.errors import RemoteProtocolError

Json = Any
Fields = dict[str, Json]
Operation = Callable[[Fields], tuple[Fields, Fields]]

OPERATIONS: dict[tuple[str, str], Operation] = {}
"""By family and operation; filled by the modules below."""

MODULES = (
    "encoding",
    "primitives",
    "identities",
    "messages",
    "statements",
    "swarms",
    "handshakes",
    "packets",
    "streams",
    "objects",
    "agreements",
    "traces",
)


class Refused(Exception):  # noqa: N818 - it is one answer of two, not a fault
    """The inputs are refused with the code of this name."""


def operation(family: str, name: str) -> Callable[[Operation], Operation]:
    """Register the decorated function as an operation of a family."""

    def register(function: Operation) -> Operation:
        OPERATIONS[family, name] = function
        return function

    return register


def plain(value: Json) -> Json:
    """Return a value as it stands in a file: bytes as digits, numbers beyond 53 bits as decimal digits."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value)) if abs(value) >= 1 << 53 else int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def load_operations() -> None:
    """Import every module with operations."""
    for name in MODULES:
        importlib.import_module(f"quinkgl.testing.vectors.{name}")


def adapter(family: str, name: str, inputs: Fields) -> Fields:
    """Answer a test as this implementation does."""
    load_operations()
    if (family, name) not in OPERATIONS:
        raise UnsupportedOperation(f"{family}.{name}")
    try:
        mid, out = OPERATIONS[family, name](inputs)
    except RemoteProtocolError as error:
        return {"error": error.code.name}
    except Refused as refused:
        return {"error": str(refused)}
    return {"mid": plain(mid), "out": plain(out)}

"""State as a tree: taken apart into arrays and a small CBOR document, and put together again.

Every value comes back as it went in: integers of any size, finite floats bit for bit, tuples as tuples,
arrays with their dtype and shape. Nothing else is taken, so nothing can be executed or lost on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import cbor2
import numpy as np
from numpy.typing import NDArray

_LIST: Final = "list"
_TUPLE: Final = "tuple"
_ARRAY: Final = "array"
"""Every CBOR array of the document begins with one of these words; NumPy's are named in the tensors."""
_PLAIN: Final = frozenset({bool, int, float, str, bytes})
_MAX_DEPTH: Final = 64
_MAX_DEPTH_OF_DOCUMENT: Final = 2 * _MAX_DEPTH + 8


class StateError(ValueError):
    """A value that no checkpoint can hold; the message names the place."""


def take_apart(state: Mapping[str, Any]) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return the document of a state and its arrays, by the names under which the document knows them.

    Raises StateError for a value of another type, a key that is no string or integer, or nesting beyond 64
    levels.
    """
    arrays: dict[str, NDArray[Any]] = {}
    return cbor2.dumps(_take(state, "state", arrays, 0)), arrays


def put_together(document: bytes, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the state of a document and its arrays.

    Raises StateError when they do not belong together or the document is not one of ours.
    """
    stream = BytesIO(document)
    try:
        tree = cbor2.CBORDecoder(stream, max_depth=_MAX_DEPTH_OF_DOCUMENT).decode()
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise StateError(f"its document cannot be read: {error}") from None
    state = _put(tree, arrays)
    if stream.read(1) or not isinstance(state, dict):
        raise StateError("its document is not one state")
    return state


def _take(value: Any, place: str, arrays: dict[str, NDArray[Any]], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise StateError(f"{place} is nested more than {_MAX_DEPTH} levels deep")
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = value
        return [_ARRAY, name]
    if isinstance(value, np.generic):
        return _take(value.item(), place, arrays, depth)
    if isinstance(value, (list, tuple)):
        items = [_take(item, f"{place}[{i}]", arrays, depth + 1) for i, item in enumerate(value)]
        return [_LIST if isinstance(value, list) else _TUPLE, *items]
    if isinstance(value, Mapping):
        return {
            _key(key, place): _take(item, f"{place}.{key}", arrays, depth + 1) for key, item in value.items()
        }
    raise StateError(f"{place} is a {type(value).__qualname__}, which a checkpoint cannot hold")


def _key(key: object, place: str) -> str | int:
    if type(key) is str or type(key) is int:
        return key
    raise StateError(f"{place} has the key {key!r}; keys are strings or integers")


def _put(value: Any, arrays: Mapping[str, NDArray[Any]], depth: int = 0) -> Any:
    """Put one value together. CBOR has more kinds of values than ours, some of which contain themselves."""
    if depth > _MAX_DEPTH:
        raise StateError("its document is nested too deeply")
    if isinstance(value, list):
        match value:
            case ["list", *items]:
                return [_put(item, arrays, depth + 1) for item in items]
            case ["tuple", *items]:
                return tuple(_put(item, arrays, depth + 1) for item in items)
            case ["array", str(name)] if name in arrays:
                return arrays[name]
        raise StateError("its document names something that is not there")
    if isinstance(value, dict):
        return {_key(key, "its document"): _put(item, arrays, depth + 1) for key, item in value.items()}
    if value is None or type(value) in _PLAIN:
        return value
    raise StateError(f"its document holds a {type(value).__qualname__}")

"""Checked records: frozen dataclasses whose fields carry the rule that admits a value.

The rule stands beside the field, is applied whenever a record is made (by hand, by `dataclasses.replace` or
from a file), and keeps the value's own scalar type: a file that says `1` where another says `1.0` has another
swarm id, and must give the same one back when it is written again.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeAlias, TypeVar

from quinkgl.manifest.errors import ErrorName, FieldError

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""What a JSON text can hold."""

Rule: TypeAlias = Callable[[Any], Any]
"""Takes a value, returns it in the form that the record keeps, raises FieldError where it is not admitted."""

T = TypeVar("T")

MAX_PARAMETER_DEPTH = 16
"""Nesting of free-form parameters: deeper is never meant, and bounds the recursion below."""


def checked(default: T, rule: Rule) -> T:
    """Declare a dataclass field with its default and the rule that admits values."""
    field: T = dataclasses.field(default=default, metadata={"rule": rule})
    return field


def made(factory: Callable[[], T], rule: Rule) -> T:
    """Declare a dataclass field whose default is made anew each time."""
    field: T = dataclasses.field(default_factory=factory, metadata={"rule": rule})
    return field


class Record:
    """Base of the manifest's dataclasses: checks every field, and knows its JSON form."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            try:
                value = field.metadata["rule"](getattr(self, field.name))
            except FieldError as error:
                raise error.inside(field.name) from None
            object.__setattr__(self, field.name, value)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the JSON form as fresh, plain objects."""
        names = (field.name for field in dataclasses.fields(self))  # type: ignore[arg-type]  # as above
        return {name: plain(getattr(self, name)) for name in names}

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Build the record from its JSON form, in which every key is present and no other.

        Raises:
            FieldError: not an object, unknown or missing keys, or a value that is not admitted.
        """
        names = tuple(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]  # as above
        return cls(**check_keys(value, required=names))


def check_keys(value: object, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return `value` if it is an object that has all required keys and none beside the optional ones.

    Raises:
        FieldError: with code NOT_OBJECT, UNKNOWN_KEYS or MISSING_KEYS, tried in this order.
    """
    if not isinstance(value, Mapping):
        raise FieldError("", f"expected an object, got {kind(value)}", code=ErrorName.ERR_MANIFEST_NOT_OBJECT)
    unknown = tuple(sorted(str(key) for key in value if key not in required and key not in optional))
    if unknown:
        listed = ", ".join(show(key) for key in unknown[:8])
        raise FieldError("", f"unknown key {listed}", code=ErrorName.ERR_MANIFEST_UNKNOWN_KEYS, keys=unknown)
    missing = tuple(sorted(key for key in required if key not in value))
    if missing:
        listed = ", ".join(show(key) for key in missing[:8])
        raise FieldError("", f"missing key {listed}", code=ErrorName.ERR_MANIFEST_MISSING_KEYS, keys=missing)
    return dict(value)


def kind(value: object) -> str:
    """Name a value's JSON type."""
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", type(None): "null"}
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    return names.get(type(value), type(value).__name__)


def show(value: object) -> str:
    """Return a short, one-line, printable form of a value for a message."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def plain(value: object) -> Any:
    """Turn frozen values back into what `json` writes: tuples to lists, records and mappings to dicts."""
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def integer(minimum: int | None = None, maximum: int | None = None) -> Rule:
    """Admit an int (no bool, no float that happens to be whole) within the bounds, both included."""

    def rule(value: object) -> int:
        if type(value) is not int:
            raise FieldError("", f"expected an integer, got {kind(value)} {show(value)}")
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise FieldError("", f"{show(value)} is not {_range(minimum, maximum)}")
        return value

    return rule


def number(minimum: float | None = None, maximum: float | None = None, *, above: float | None = None) -> Rule:
    """Admit a finite int or float within the bounds (`above` itself excluded), kept as the type it is."""

    def rule(value: object) -> int | float:
        if type(value) is not int and type(value) is not float:
            raise FieldError("", f"expected a number, got {kind(value)} {show(value)}")
        if type(value) is float and not math.isfinite(value):
            raise FieldError("", f"{value} is not a finite number")
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise FieldError("", f"{show(value)} is not {_range(minimum, maximum)}")
        if above is not None and value <= above:
            raise FieldError("", f"{show(value)} is not above {above}")
        return value

    return rule


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is None:
        return f"at most {maximum}"
    return f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"


def boolean(value: object) -> bool:
    """Admit true or false."""
    if type(value) is not bool:
        raise FieldError("", f"expected true or false, got {kind(value)} {show(value)}")
    return value


def text(minimum: int = 0, maximum: int = 1024, *, pattern: str | None = None, means: str = "") -> Rule:
    """Admit a string of `minimum` to `maximum` characters, without control characters and lone surrogates.

    With `pattern`, the whole string matches it; `means` then says in words what is expected.
    """
    compiled = re.compile(pattern) if pattern is not None else None

    def rule(value: object) -> str:
        if type(value) is not str:
            raise FieldError("", f"expected a string, got {kind(value)} {show(value)}")
        if not minimum <= len(value) <= maximum:
            raise FieldError("", f"has {len(value)} characters, not {_range(minimum, maximum)}")
        if any(character < " " or "\ud800" <= character <= "\udfff" for character in value):
            raise FieldError("", "contains a control character or a lone surrogate")
        if compiled is not None and compiled.fullmatch(value) is None:
            raise FieldError("", f"{show(value)} is not {means or 'of the form ' + compiled.pattern}")
        return value

    return rule


def choice(*options: str) -> Rule:
    """Admit one of the given strings."""

    def rule(value: object) -> str:
        if type(value) is not str or value not in options:
            raise FieldError("", f"{show(value)} is none of {', '.join(options)}")
        return value

    return rule


def optional(rule: Rule) -> Rule:
    """Admit null (None) or what `rule` admits."""
    return lambda value: None if value is None else rule(value)


def array(rule: Rule, minimum: int = 0, maximum: int = 256) -> Rule:
    """Admit an array of `minimum` to `maximum` items that `rule` admits, kept as a tuple."""

    def check(value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise FieldError("", f"expected an array, got {kind(value)} {show(value)}")
        if not minimum <= len(value) <= maximum:
            raise FieldError("", f"has {len(value)} items, not {_range(minimum, maximum)}")
        kept = []
        for position, item in enumerate(value):
            try:
                kept.append(rule(item))
            except FieldError as error:
                raise error.inside(f"[{position}]") from None
        return tuple(kept)

    return check


def record(record_type: type[Record]) -> Rule:
    """Admit a record of the given type, or its JSON form."""
    return lambda value: value if isinstance(value, record_type) else record_type.from_dict(value)


def json_object(value: object) -> Mapping[str, Any]:
    """Admit an object of free form (strategy parameters), kept as a read-only mapping.

    Raises:
        FieldError: not an object, a value that JSON cannot hold, or nesting beyond `MAX_PARAMETER_DEPTH`.
    """
    if not isinstance(value, Mapping):
        raise FieldError("", f"expected an object, got {kind(value)} {show(value)}")
    frozen: Mapping[str, Any] = _freeze(value, depth=0)
    return frozen


def _freeze(value: object, depth: int) -> Any:
    if depth > MAX_PARAMETER_DEPTH:
        raise FieldError("", f"is nested deeper than {MAX_PARAMETER_DEPTH} levels")
    if isinstance(value, Mapping):
        return MappingProxyType({_KEY(key): _inside(str(key), item, depth) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_inside(f"[{position}]", item, depth) for position, item in enumerate(value))
    if type(value) is str:
        return _TEXT(value)
    if type(value) is float:
        return _NUMBER(value)
    if value is None or type(value) is bool or type(value) is int:
        return value
    raise FieldError("", f"{type(value).__name__} is not a JSON value")


def _inside(place: str, value: object, depth: int) -> Any:
    try:
        return _freeze(value, depth + 1)
    except FieldError as error:
        raise error.inside(place) from None


_KEY = text(1, 128)
_TEXT = text(0, 8192)
_NUMBER = number()

"""What can be wrong with a manifest, by name.

`ManifestError.args` is `(code, context)`, so that a program reads the code and the context and a person reads
`str(error)`: where it is, what is wrong, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto
from typing import Any


class _NamedByItself(StrEnum):
    """`auto()` gives each member its own name as value."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:  # noqa: ARG004
        return name


class ErrorName(_NamedByItself):
    """Error codes of manifests, nodes and trust; each equals its own name as a string."""

    ERR_MANIFEST_INVALID_JSON = auto()
    ERR_MANIFEST_NOT_OBJECT = auto()
    ERR_MANIFEST_SCHEMA_VERSION = auto()
    ERR_MANIFEST_UNKNOWN_KEYS = auto()
    ERR_MANIFEST_MISSING_KEYS = auto()
    ERR_MANIFEST_FIELD_INVALID = auto()
    ERR_MANIFEST_EXPIRED = auto()
    ERR_MANIFEST_DATA_POLICY = auto()
    ERR_MANIFEST_HASH_MISMATCH = auto()
    ERR_MAGNET_SCHEME = auto()
    ERR_MAGNET_XT = auto()
    ERR_MAGNET_DUPLICATE = auto()
    ERR_NODE_NO_MANIFEST = auto()
    ERR_NODE_AGGREGATION_MISMATCH = auto()
    ERR_NODE_TOPOLOGY_MISMATCH = auto()
    ERR_NODE_UNSIGNED_MANIFEST_REJECTED = auto()
    ERR_NODE_ARCH_MISMATCH = auto()
    ERR_NODE_DATA_SHAPE_MISMATCH = auto()
    ERR_SIGNATURE_INVALID = auto()
    ERR_CREATOR_NOT_TRUSTED = auto()


class ManifestError(ValueError):
    """A manifest that is malformed, expired, wrongly signed, or does not fit the model at hand.

    Args:
        code: which kind of error.
        context: what is known about it. `field` (dotted path), `reason` and `hint` make up the message;
            `path` is the file, where there is one; other keys depend on the code (`keys`, `expected`,
            `actual`).
    """

    def __init__(self, code: ErrorName, context: Mapping[str, Any]) -> None:
        super().__init__(code, dict(context))

    @property
    def code(self) -> ErrorName:
        """The error's name."""
        code: ErrorName = self.args[0]
        return code

    @property
    def context(self) -> dict[str, Any]:
        """What is known about the error."""
        context: dict[str, Any] = self.args[1]
        return context

    def with_context(self, **more: Any) -> ManifestError:
        """Return the same error with more context, for a caller that knows the file or the outer field."""
        return ManifestError(self.code, {**self.context, **more})

    def __str__(self) -> str:
        place = ", ".join(str(self.context[key]) for key in ("path", "field") if self.context.get(key))
        reason = str(self.context.get("reason", "invalid"))
        hint = f"; {self.context['hint']}" if self.context.get("hint") else ""
        return f"{self.code}: {place + ': ' if place else ''}{reason}{hint}"


class FieldError(ValueError):
    """One value that is not what the schema asks for. `SwarmManifest` turns it into a `ManifestError`.

    Attributes:
        field: dotted path of the value from the object that was built, such as `collaboration.ema_alpha`.
        reason: what is wrong with it, without the path.
        code: the `ErrorName` it becomes.
        keys: the keys concerned, where the error is about keys.
    """

    def __init__(
        self,
        field: str,
        reason: str,
        *,
        code: ErrorName = ErrorName.ERR_MANIFEST_FIELD_INVALID,
        keys: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason
        self.code = code
        self.keys = keys

    def inside(self, outer: str) -> FieldError:
        """Return the same error seen from an enclosing object."""
        field = outer if not self.field else outer + ("" if self.field.startswith("[") else ".") + self.field
        return FieldError(field, self.reason, code=self.code, keys=self.keys)

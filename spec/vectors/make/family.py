"""A family of vectors: its operations, its cases, and how they become a file and a schema.

A case is written down with what goes in and whether the chapters accept it; what comes out, the intermediates
included, is computed by the operation, which stands on the second implementation. For a case that the
chapters refuse, the error is written down beside it with the reason, and the operation has to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ref import SpecError

EDITION = "1"
DROP = "drop"
"""In place of an error's name: the chapters name none, the bytes are dropped in silence."""

Json = Any
Operation = Callable[[dict[str, Json]], tuple[dict[str, Json], dict[str, Json]]]
"""From inputs to intermediates and outputs."""

HEX: Json = {"$ref": "common.schema.json#/$defs/hex"}
NUM: Json = {"$ref": "common.schema.json#/$defs/number"}
TEXT: Json = {"type": "string"}
BOOL: Json = {"type": "boolean"}
VALUE: Json = {"$ref": "common.schema.json#/$defs/value"}


def array(of: Json) -> Json:
    """Return the schema of an array of anything that fits ``of``."""
    return {"type": "array", "items": of}


def pair(*of: Json) -> Json:
    """Return the schema of an array of exactly these."""
    return {"type": "array", "prefixItems": list(of), "items": False, "minItems": len(of)}


def either(*of: Json) -> Json:
    """Return the schema of a value that fits one of several."""
    return {"anyOf": list(of)}


def record(**fields: Json) -> Json:
    """Return the schema of an object; a field whose name ends in `_` may be absent, and has no `_` there."""
    return {
        "type": "object",
        "properties": {name.rstrip("_"): kind for name, kind in fields.items()},
        "required": [name for name in fields if not name.endswith("_")],
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class Op:
    """One operation: what it does, the schemas of its three objects, and the function that answers."""

    what: str
    run: Operation
    takes: Json
    gives: Json
    mid: Json = field(default_factory=record)


@dataclass
class Family:
    """One file of vectors."""

    name: str
    description: str
    procedure: str
    refusals: tuple[type[Exception], ...] = (SpecError,)
    ops: dict[str, Op] = field(default_factory=dict)
    tests: list[dict[str, Json]] = field(default_factory=list)
    tolerance: int = 0

    def op(
        self, name: str, what: str, *, takes: Json, gives: Json, mid: Json | None = None
    ) -> Callable[[Operation], Operation]:
        """Register the decorated function as an operation."""

        def register(function: Operation) -> Operation:
            self.ops[name] = Op(what, function, takes, gives, record() if mid is None else mid)
            return function

        return register

    def valid(
        self,
        slug: str,
        op: str,
        req: str,
        comment: str = "",
        flags: Sequence[str] = (),
        ignored: Mapping[str, str] | None = None,
        **inputs: Json,
    ) -> None:
        """Add a case that the chapters accept; ``req`` names the rules, separated by blanks."""
        self._add(slug, op, req, comment, flags, inputs, error=None, ignored=ignored)

    def invalid(
        self, slug: str, op: str, error: str, req: str, why: str, flags: Sequence[str] = (), **inputs: Json
    ) -> None:
        """Add a case that the chapters refuse with ``error``."""
        self._add(slug, op, req, why, flags, inputs, error=error, ignored=None)

    def _add(
        self,
        slug: str,
        op: str,
        req: str,
        comment: str,
        flags: Sequence[str],
        inputs: dict[str, Json],
        *,
        error: str | None,
        ignored: Mapping[str, str] | None,
    ) -> None:
        case = {
            "id": f"{self.name}-{slug}",
            "op": op,
            "req": req.split(),
            "result": "invalid" if error else "valid",
        }
        if error:
            case["error"] = error
        case |= {"comment": comment, "flags": list(flags)}
        if ignored:
            case["ignored"] = dict(ignored)
        try:
            mid, out = self.ops[op].run(plain(inputs))
        except self.refusals as refusal:
            code = code_of(refusal)
            if code != error:
                raise AssertionError(f"{case['id']}: {code} in place of {error}: {refusal}") from refusal
            self.tests.append({**case, "in": plain(inputs), "mid": {}, "out": None})
            return
        if error:
            raise AssertionError(f"{case['id']}: accepted, in place of {error}: {out}")
        self.tests.append({**case, "in": plain(inputs), "mid": plain(mid), "out": plain(out)})

    def document(self) -> dict[str, Json]:
        """Return the file of this family."""
        head: dict[str, Json] = {
            "family": self.name,
            "edition": EDITION,
            "description": self.description,
            "procedure": self.procedure,
            "ops": {name: op.what for name, op in self.ops.items()},
        }
        if self.tolerance:
            head["tolerance"] = self.tolerance
        return {**head, "tests": self.tests}

    def schema(self) -> dict[str, Json]:
        """Return the schema of the file."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{self.name}.schema.json",
            "title": self.description,
            "allOf": [{"$ref": "common.schema.json#/$defs/file"}],
            "properties": {
                "family": {"const": self.name},
                "ops": record(**{name: {"const": op.what} for name, op in self.ops.items()}),
                "tests": {"items": {"oneOf": [self._of_op(name, op) for name, op in self.ops.items()]}},
            },
        }

    @staticmethod
    def _of_op(name: str, op: Op) -> dict[str, Json]:
        accepted = {"result": {"const": "valid"}, "mid": op.mid, "out": op.gives}
        refused = {"result": {"const": "invalid"}, "mid": record(), "out": {"type": "null"}}
        return {
            "properties": {"op": {"const": name}, "in": op.takes},
            "anyOf": [{"properties": accepted}, {"properties": refused}],
        }


def code_of(refusal: Exception) -> str:
    """Return the name of the error that an exception of any implementation carries."""
    code: Any = getattr(refusal, "code", None)
    return str(getattr(code, "name", code))


def plain(value: Json) -> Json:
    """Return a value as it stands in JSON: bytes as hexadecimal digits, large numbers as decimal ones."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) >= 1 << 53 else int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


COMMON: dict[str, Json] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "common.schema.json",
    "title": "What the files of all families have in common",
    "$defs": {
        "hex": {"type": "string", "pattern": "^([0-9a-f]{2})*$"},
        "number": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[1-9][0-9]{15,19}$"}]},
        "value": {
            "description": "A CBOR value; a map is an array of pairs, in the order of the bytes.",
            "anyOf": [
                record(int={"type": "string", "pattern": "^-?[0-9]+$"}),
                record(bytes=HEX),
                record(text=TEXT),
                record(array=array(VALUE)),
                record(map=array(pair({"type": "string", "pattern": "^[0-9]+$"}, VALUE))),
                record(simple={"enum": ["false", "true", "null"]}),
            ],
        },
        "test": {
            "type": "object",
            "properties": {
                "id": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
                "op": TEXT,
                "req": {
                    "type": "array",
                    "items": {"type": "string", "pattern": "^[A-Z]-[0-9]{3}$"},
                    "uniqueItems": True,
                },
                "result": {"enum": ["valid", "invalid"]},
                "error": {"type": "string"},
                "comment": TEXT,
                "flags": {"type": "array", "items": {"type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$"}},
                "ignored": {"type": "object", "additionalProperties": {"type": "string", "minLength": 10}},
                "in": {"type": "object"},
                "mid": {"type": "object"},
                "out": {"type": ["object", "null"]},
            },
            "required": ["id", "op", "req", "result", "comment", "flags", "in", "mid", "out"],
            "additionalProperties": False,
            "if": {"properties": {"result": {"const": "invalid"}}},
            "then": {"required": ["error"], "properties": {"comment": {"minLength": 6}}},
            "else": {"not": {"required": ["error"]}},
        },
        "file": {
            "type": "object",
            "properties": {
                "family": TEXT,
                "edition": {"const": EDITION},
                "description": {"type": "string", "minLength": 20},
                "procedure": {"type": "string", "minLength": 40},
                "ops": {"type": "object", "additionalProperties": TEXT},
                "tolerance": {"type": "integer", "minimum": 1},
                "tests": {"type": "array", "items": {"$ref": "#/$defs/test"}, "minItems": 1},
            },
            "required": ["family", "edition", "description", "procedure", "ops", "tests"],
            "additionalProperties": False,
        },
    },
}

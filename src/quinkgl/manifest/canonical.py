r"""JSON, strictly: the canonical bytes that a swarm id hashes, and a reader that accepts nothing doubtful.

Canonical form of schema 3: keys sorted by code point at every level, no white space, ASCII with `\uXXXX`
escapes (surrogate pairs beyond the basic plane), integers without exponent, floats as the shortest decimal
that reads back as the same binary64 value, in the form of Python's `repr`: `1e-05`, `1e+16`, `0.3`, `2.0`. An
integer and a float that are equal differ in bytes, so the reader keeps them apart.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from quinkgl.manifest.errors import ErrorName, ManifestError

MAX_FILE_BYTES = 1 << 20
"""A manifest file larger than this is refused before it is read."""

MAX_INTEGER_DIGITS = 64
"""No count, size or time needs more; without a bound, parsing digits is quadratic."""


def canonical_json(value: Any) -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises:
        ValueError: NaN or infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def pretty_json(value: Any) -> bytes:
    """Return the same value for people: two spaces of indent, sorted keys, a final newline."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def parse_json_untrusted(data: bytes) -> Any:
    """Read one JSON text, refusing what readers disagree about.

    Refused are more than `MAX_FILE_BYTES`, a byte order mark, invalid UTF-8, a key that occurs twice in an
    object, NaN, infinity and numbers that overflow to it, integers of more than `MAX_INTEGER_DIGITS`, and
    nesting that the parser's stack does not take. Integers come back as int and everything with a fraction or
    an exponent as float.

    Raises:
        ManifestError: ERR_MANIFEST_INVALID_JSON, whatever the bytes.
    """
    if len(data) > MAX_FILE_BYTES:
        _refuse(f"{len(data)} bytes, of at most {MAX_FILE_BYTES}", "a manifest is a few kilobytes")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        _refuse("begins with a byte order mark", "save it as UTF-8 without one")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except ManifestError:
        raise
    except UnicodeDecodeError as error:
        _refuse(f"is not UTF-8 at byte {error.start}", "save it as UTF-8")
    except json.JSONDecodeError as error:
        _refuse(f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}", "mend it there")
    except RecursionError:
        _refuse("is nested too deeply", "a manifest has six levels or so")


def _refuse(reason: str, hint: str) -> NoReturn:
    raise ManifestError(ErrorName.ERR_MANIFEST_INVALID_JSON, {"reason": reason, "hint": hint}) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        _refuse(f"has the key {ascii(twice)[:60]} twice in one object", "keep one of them")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        _refuse(f"has an integer of {len(digits)} digits", f"at most {MAX_INTEGER_DIGITS} are accepted")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _refuse(f"has the number {digits[:40]}, which is infinite in binary64", "write a finite number")
    return value


def _constant(name: str) -> NoReturn:
    _refuse(f"has {name}, which is not JSON", "write a finite number or null")

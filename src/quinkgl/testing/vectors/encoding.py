"""Operations of the families of chapter 3."""

from __future__ import annotations

from quinkgl.testing.vectors.ours import Fields, Json, operation
from quinkgl.wire.addresses import decode_address_untrusted, encode_address, format_address
from quinkgl.wire.cbor import decode_untrusted, encode

_UNBOUNDED = 1 << 32


def shown(value: Json) -> Json:
    """Write a decoded value with its type, integers as decimal digits."""
    match value:
        case None | True | False:
            return {"simple": "null" if value is None else str(value).lower()}
        case int():
            return {"int": str(value)}
        case bytes():
            return {"bytes": value.hex()}
        case str():
            return {"text": value}
        case list():
            return {"array": list(map(shown, value))}
        case _:
            return {"map": [[str(key), shown(value[key])] for key in value]}


@operation("dcbor", "decode")
def decode(given: Fields) -> tuple[Fields, Fields]:
    """Decode an item and encode it again."""
    data = bytes.fromhex(given["bytes"])
    value = decode_untrusted(data, max_bytes=given.get("max_bytes", _UNBOUNDED), where="vector")
    return {}, {"value": shown(value), "bytes": encode(value)}


@operation("address", "decode")
def decode_address(given: Fields) -> tuple[Fields, Fields]:
    """Read an address and write it again."""
    data = bytes.fromhex(given["bytes"])
    found = decode_address_untrusted(data)
    written = encode_address(found)
    return {}, {
        "ip": written[:-2],
        "port": found[1],
        "text": format_address(found),
        "bytes": written,
        "mapped": len(written) != len(data),
    }

"""Operations of the families of CBOR messages."""

from __future__ import annotations

from collections.abc import Callable

from quinkgl.crypto.agreement import Method
from quinkgl.crypto.keys import KeySource
from quinkgl.testing.vectors.encoding import shown
from quinkgl.testing.vectors.ours import Fields, Json, operation
from quinkgl.transport.secret_exchange import SecretExchange
from quinkgl.wire.cbor import decode_untrusted
from quinkgl.wire.messages import (
    exchange,
    fetch,
    fingerprint,
    gossip,
    manifest,
    membership,
    objects,
    secrets,
    session,
)

_UNBOUNDED = 1 << 20
_CODECS: dict[str, tuple[Callable[[bytes], Json], Callable[[Json], bytes]]] = {
    "exchange": (exchange.decode_exchange_message_untrusted, exchange.encode_exchange_message),
    "fetch": (fetch.decode_fetch_message_untrusted, fetch.encode_fetch_message),
    "fingerprint": (
        fingerprint.decode_fingerprint_message_untrusted,
        fingerprint.encode_fingerprint_message,
    ),
    "gossip": (gossip.decode_gossip_message_untrusted, gossip.encode_gossip_message),
    "manifest": (manifest.decode_manifest_message_untrusted, manifest.encode_manifest_message),
    "membership": (membership.decode_membership_message_untrusted, membership.encode_membership_message),
    "objects": (objects.decode_object_message_untrusted, objects.encode_object_message),
}


def _register(channel: str, decode: Callable[[bytes], Json], encode: Callable[[Json], bytes]) -> None:
    def run(given: Fields) -> tuple[Fields, Fields]:
        message = decode(bytes.fromhex(given["bytes"]))
        if message is None:
            return {}, {"kind": None, "value": shown({}), "bytes": b""}
        written = encode(message)
        value = decode_untrusted(written, max_bytes=_UNBOUNDED, where="vector")
        return {}, {"kind": value[0], "value": shown(value), "bytes": written}

    operation(f"messages-{channel}", "decode")(run)


def _known_secret(data: bytes) -> Json:
    """Read a message of channel 5; whether its method is known the machine says, not the decoder."""
    message = secrets.decode_exchange_message_untrusted(data)
    if message.method not in tuple(Method):
        machine = SecretExchange(
            initiator=False,
            post_quantum=False,
            source=KeySource.system(),
            ratchet_s=1.0,
            timeout_s=1.0,
            now=0.0,
        )
        machine.receive_message_untrusted(data, 0.0)
    return message


_CODECS["session"] = (_known_secret, secrets.encode_exchange_message)
for _channel, _both in _CODECS.items():
    _register(_channel, *_both)


@operation("handshake-payload", "decode")
def payload(given: Fields) -> tuple[Fields, Fields]:
    """Decode a payload and encode it again."""
    written = session.encode_handshake_payload(
        session.decode_handshake_payload_untrusted(bytes.fromhex(given["bytes"]))
    )
    return {}, {
        "value": shown(decode_untrusted(written, max_bytes=_UNBOUNDED, where="vector")),
        "bytes": written,
    }

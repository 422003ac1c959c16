"""The harnesses by name. A module is loaded when a harness of it is asked for, so that it starts fast."""

from __future__ import annotations

import importlib

from fuzz.harness import Target

_MODULES: dict[str, tuple[str, ...]] = {
    "wire_decoders": ("cbor", "frames", "long_packets", "control_stream", "addresses"),
    "message_decoders": (
        "handshake_payload",
        "object_message",
        "exchange_message",
        "fetch_message",
        "fingerprint_message",
        "fingerprint_statement",
        "gossip_message",
        "update_header",
        "manifest_message",
        "membership_message",
        "peer_record",
        "secret_message",
        "envelope",
    ),
    "file_decoders": ("tensors", "checkpoint", "key_log", "magnet", "manifest_loader", "ticket"),
    "dissector": ("dissector",),
    "saved_states": ("saved_state",),
    "gossip_machine": ("gossip",),
    "membership_machine": ("membership", "signed_record"),
    "fingerprint_machine": ("fingerprint",),
    "exchange_machine": ("exchange",),
    "manifest_machines": ("manifest_handshake", "manifest_fetch"),
    "object_receiver": ("object_exchange", "resume_file"),
    "connections": ("packet_path", "hostile_peer"),
    "handshake_ends": ("handshake",),
    "whole_swarm": ("swarm", "fetcher"),
}


def target_names() -> list[str]:
    """Return the names of all harnesses."""
    return [name for names in _MODULES.values() for name in names]


def load_target(name: str) -> Target:
    """Return a harness; KeyError for a name that none has."""
    for module, names in _MODULES.items():
        if name in names:
            targets: tuple[Target, ...] = importlib.import_module(f"fuzz.targets.{module}").TARGETS
            return next(target for target in targets if target.name == name)
    raise KeyError(f"there is no harness {name!r}; python -m fuzz --list shows them")

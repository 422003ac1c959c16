"""Every bound and every constant of the protocol, typed; the values and their reasons stand in ``spec/``.

``LIMITS`` holds what a node uses when nobody says otherwise and ``HARD`` the bounds that no configuration may
exceed; :func:`limits_with` makes a set of one's own inside them. ``CONSTANTS`` are values that no node may
change. The unit is part of each name; a name without a unit is a count.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

from quinkgl.wire.errors import ErrorCode, LocalProtocolError
from quinkgl.wire.spec_data import load


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of ``spec/limits.toml``, which gives the reason of each."""

    max_datagram_bytes: int
    init_min_datagram_bytes: int
    unvalidated_factor: int
    half_open: int
    half_open_lifetime_s: float
    half_open_per_prefix: int
    init_rate_per_prefix_per_s: int
    init_rate_total_per_s: int
    stateless_answers: int
    version_negotiations_per_s: int
    handshake_retries: int
    handshake_timeout_s: float
    handshake_total_s: float
    handshake_payload_bytes: int
    connections: int
    connections_per_prefix: int
    idle_timeout_s: float
    keepalive_s: float
    close_timeout_s: float
    replay_window: int
    connection_ids: int
    reset_rate_per_s: int
    paths_per_connection: int
    ack_ranges: int
    max_ack_delay_s: float
    control_window_bytes: int
    control_message_bytes: int
    control_messages_queued: int
    cbor_depth: int
    cbor_items: int
    text_bytes: int
    reason_bytes: int
    manifest_bytes: int
    manifest_handshake_timeout_s: float
    manifest_fetch_timeout_s: float
    manifest_fetches: int
    manifest_fetch_interval_s: float
    object_bytes: int
    leaf_bytes: int
    transfers_in_per_peer: int
    transfers_out_per_peer: int
    transfers_global: int
    credit_per_transfer_bytes: int
    reassembly_per_peer_bytes: int
    reassembly_global_bytes: int
    transfer_min_rate_bytes_per_s: int
    transfer_min_rate_window_s: float
    transfer_stall_s: float
    partial_keep_s: float
    partials: int
    want_ranges: int
    offers_queued: int
    unsolicited_bytes: int
    header_bytes: int
    view_size: int
    shuffle_length: int
    shuffle_interval_s: float
    shuffles_accepted_per_interval: int
    records_interval_s: float
    records_burst: int
    samplers: int
    record_bytes: int
    record_ttl_s: float
    record_addresses: int
    record_vouchers: int
    anchors: int
    view_entries_per_prefix: int
    round_ahead: int
    round_stale: int
    authors: int
    seen_roots: int
    offer_interval_s: float
    offer_burst: int
    weight_cap: int
    equivocation_proofs: int
    update_objects: int
    scores: int
    score_most: int
    score_limited: int
    score_refused: int
    score_half_life_s: float
    score_keep_s: float
    proofs_burst: int
    proofs_interval_s: float
    exchanges: int
    exchanges_per_peer: int
    exchange_lateness: int
    exchange_retry_s: float
    fingerprint_bytes: int
    fingerprint_requests_per_hour: int
    fingerprint_timeout_s: float
    punch_probes: int
    candidate_pairs: int
    punch_timeout_s: float
    introductions_per_minute: int
    relay_reservations: int
    relay_reservations_per_prefix: int
    relay_channels_per_reservation: int
    relay_channels: int
    relay_channel_bytes_per_s: int
    relay_channel_bytes: int
    relay_channel_s: float
    relay_queue_packets: int
    rendezvous_records: int
    clock_skew_s: float
    events: int


@dataclass(frozen=True, slots=True)
class Constants:
    """Constants of ``spec/constants.toml``, which gives the source of each."""

    version: int
    prologue_magic: str
    noise_protocol: str
    key_bytes: int
    signature_bytes: int
    tag_bytes: int
    nonce_bytes: int
    mac1_bytes: int
    swarm_tag_bytes: int
    record_period_s: int
    connection_id_bytes: int
    packet_number_bytes: int
    stateless_reset_token_bytes: int
    reset_min_bytes: int
    reset_max_bytes: int
    least_eliciting_bytes: int
    path_challenge_tries: int
    cookie_secret_s: float
    key_phase_packets: int
    key_phase_s: float
    aead_confidentiality_packets: int
    ratchet_s: float
    ml_kem_seed_bytes: int
    aead_integrity_failures: int
    skipped_number_interval_packets: tuple[int, ...]
    initial_rtt_s: float
    packet_threshold: int
    time_threshold: float
    timer_granularity_s: float
    persistent_congestion_threshold: int
    initial_window_packets: int
    minimum_window_packets: int
    pacing_gain: float
    pacing_burst_packets: int
    pacing_burst_s: float
    base_mtu_bytes: int
    relayed_mtu_bytes: int
    mtu_probes_bytes: tuple[int, ...]
    mtu_probe_tries: int
    mtu_probe_retry_s: float
    mtu_black_hole_bursts: int
    mtu_cool_off_s: float
    mtu_raise_s: float
    grease_base: int
    grease_step: int
    first_ignorable_key: int
    manifest_piece_bytes: int
    fingerprint_nonce_bytes: int


_Record = TypeVar("_Record", Limits, Constants)


def _fill(record: type[_Record], values: dict[str, Any]) -> _Record:
    """Build the dataclass from a data file; ImportError where the two differ in a name or a type."""
    fields = {field.name: field.type for field in dataclasses.fields(record)}
    if fields.keys() != values.keys():
        raise ImportError(
            f"{record.__name__} differs from its data file: {sorted(fields.keys() ^ values.keys())}"
        )
    made: dict[str, Any] = {}
    for name, value in values.items():
        made[name] = tuple(value) if isinstance(value, list) else value
        if not str(fields[name]).startswith(type(made[name]).__name__):
            raise ImportError(f"{record.__name__}.{name} is a {type(value).__name__} in its data file")
    return record(**made)


_LIMITS = load("limits")

LIMITS = _fill(Limits, {name: entry["default"] for name, entry in _LIMITS.items()})
"""The default of every limit."""

HARD = _fill(Limits, {name: entry.get("max", entry["default"]) for name, entry in _LIMITS.items()})
"""The largest permitted value of every limit; the default where the specification gives no other."""

LEAST = _fill(Limits, {name: entry.get("min", type(entry["default"])(0)) for name, entry in _LIMITS.items()})
"""The smallest permitted value of every limit; zero where the specification gives no other."""

CONSTANTS = _fill(Constants, {name: entry["value"] for name, entry in load("constants").items()})
"""The constants of this version of the protocol."""


def limits_with(base: Limits = LIMITS, **changes: float) -> Limits:
    """Return ``base`` with some limits changed [L-001, L-002].

    Raises LocalProtocolError (E_USAGE) for an unknown name, a wrong type, a value outside the bounds of
    ``spec/limits.toml``, and a limit whose status there is ``fixed``: peers rely on it.
    """
    for name, value in changes.items():
        if name not in _LIMITS:
            raise LocalProtocolError(ErrorCode.E_USAGE, f"there is no limit named {name}")
        if _LIMITS[name]["status"] == "fixed":
            raise LocalProtocolError(ErrorCode.E_USAGE, f"limit {name} is part of the protocol")
        default = _LIMITS[name]["default"]
        if isinstance(value, bool) or not isinstance(value, (int, type(default))):
            raise LocalProtocolError(
                ErrorCode.E_USAGE, f"limit {name} must be of type {type(default).__name__}"
            )
        least, most = getattr(LEAST, name), getattr(HARD, name)
        if not least <= value <= most:
            raise LocalProtocolError(ErrorCode.E_USAGE, f"limit {name} = {value} is outside {least}..{most}")
    made: dict[str, Any] = {name: type(_LIMITS[name]["default"])(value) for name, value in changes.items()}
    return dataclasses.replace(base, **made)

"""`SwarmManifest`: the agreement that a swarm is. Its canonical bytes hash to the swarm's id.

Whoever changes anything in it has made another swarm; the signature alone stays outside the hash, because it
covers the canonical bytes itself. A manifest is immutable: derive another one with `dataclasses.replace`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

from quinkgl.manifest import checks
from quinkgl.manifest.canonical import canonical_json, parse_json_untrusted, pretty_json
from quinkgl.manifest.errors import ErrorName, FieldError, ManifestError
from quinkgl.manifest.policy import DataPolicy
from quinkgl.manifest.record import (
    Record,
    array,
    check_keys,
    checked,
    integer,
    kind,
    made,
    optional,
    record,
    show,
    text,
)
from quinkgl.manifest.specs import (
    BootstrapPeer,
    ByzantineSpec,
    CompressionSpec,
    ModelSpec,
    StrategySpec,
    TaskSpec,
    TelemetrySpec,
    url,
)
from quinkgl.manifest.times import format_utc, unix_seconds, utc_time

MANIFEST_SCHEMA_VERSION = 3

_PUBLIC_KEY = text(72, 72, pattern=r"ed25519:[0-9a-f]{64}", means="ed25519: and 64 lower-case hex digits")
_SIGNATURE = text(136, 136, pattern=r"ed25519:[0-9a-f]{128}", means="ed25519: and 128 lower-case hex digits")
_TRACKER = url("http", "https", "udp")


def _random() -> StrategySpec:
    return StrategySpec(name="Random")


@dataclass(frozen=True, eq=False)
class SwarmManifest(Record):
    """What the members of a swarm agree on, in schema 3. The fields are the keys of the file.

    Every value is checked when the object is made; `validate()` adds what only a complete manifest must
    satisfy, and everything that is loaded has passed it. Two manifests are equal when their canonical bytes
    and signatures are: `1` and `1.0` are different manifests, since they have different ids.

    Raises:
        ManifestError: a value that the schema does not admit. ERR_MANIFEST_DATA_POLICY where it is in the
            data policy.
    """

    OPTIONAL_KEYS: ClassVar[tuple[str, ...]] = (
        "bootstrap_peers",
        "byzantine",
        "creator_pubkey",
        "description",
        "expires_at",
        "round_limit",
        "signature",
        "telemetry",
        "tracker_urls",
    )

    schema_version: int = checked(
        MANIFEST_SCHEMA_VERSION, integer(MANIFEST_SCHEMA_VERSION, MANIFEST_SCHEMA_VERSION)
    )
    model_arch_fingerprint: str = checked("", text(0, 256))
    data_schema_hash: str = checked("", text(0, 256))
    aggregation: StrategySpec = made(StrategySpec, record(StrategySpec))
    topology: StrategySpec = made(_random, record(StrategySpec))
    compression: CompressionSpec = made(CompressionSpec, record(CompressionSpec))
    data_policy: DataPolicy = made(DataPolicy, record(DataPolicy))
    name: str = checked("unnamed", text(1, 128))
    description: str = checked("", text(0, 1024))
    created_at: str = checked("1970-01-01T00:00:00Z", utc_time)
    expires_at: str | None = checked(None, optional(utc_time))
    task: TaskSpec = made(TaskSpec, record(TaskSpec))
    model: ModelSpec = made(ModelSpec, record(ModelSpec))
    byzantine: ByzantineSpec = made(ByzantineSpec, record(ByzantineSpec))
    round_limit: int | None = checked(None, optional(integer(0, 1 << 53)))
    bootstrap_peers: tuple[BootstrapPeer, ...] = checked((), array(record(BootstrapPeer), 0, 64))
    tracker_urls: tuple[tuple[str, ...], ...] = checked((), array(array(_TRACKER, 1, 16), 0, 16))
    creator_pubkey: str | None = checked(None, optional(_PUBLIC_KEY))
    signature: str | None = checked(None, optional(_SIGNATURE))
    telemetry: TelemetrySpec = made(TelemetrySpec, record(TelemetrySpec))

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except FieldError as error:
            raise _manifest_error(error) from None

    # -- making one ------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        name: str,
        *,
        framework: str,
        arch_hash: str,
        input_shape: Sequence[int],
        output_shape: Sequence[int],
        created_at: str | float,
        aggregation: str | StrategySpec = "FedAvg",
        topology: str | StrategySpec = "Random",
        task_type: str = "classification",
        label_type: str = "integer",
        tags: Sequence[str] = (),
        **more: Any,
    ) -> Self:
        """Make a complete manifest from what cannot be guessed.

        Peers that call this with equal arguments are in the same swarm, `created_at` included: agree on one.

        Args:
            name: the swarm's name.
            framework: `pytorch`, `tensorflow` or `custom` (every other one, NumPy's among them).
            arch_hash: `compute_arch_hash(model)`.
            input_shape: shape of one sample.
            output_shape: shape of the model's output for one sample.
            created_at: RFC 3339 in UTC, or unix seconds.
            aggregation: public name of the rule, or a `StrategySpec` with its parameters.
            topology: the same for whom peers send to.
            task_type: classification, regression, segmentation or detection.
            label_type: integer, float, binary, multiclass or multilabel.
            tags: up to 16 words to find the swarm by.
            **more: any other field of the manifest.

        Raises:
            ManifestError: a value that the schema does not admit, or a manifest that `validate()` refuses.
        """
        task = {
            "type": task_type,
            "input_shape": input_shape,
            "output_shape": output_shape,
            "label_type": label_type,
        }
        schema_hash = hashlib.sha256(
            canonical_json({key: _listed(value) for key, value in task.items()})
        ).hexdigest()
        try:
            manifest = cls(
                name=name,
                model_arch_fingerprint=arch_hash,
                data_schema_hash=f"sha256:{schema_hash}",
                aggregation=_strategy(aggregation),
                topology=_strategy(topology),
                task=TaskSpec.from_dict({**task, "tags": tags}),
                model=ModelSpec(framework=framework, arch_hash=arch_hash),
                created_at=created_at if isinstance(created_at, str) else format_utc(created_at),
                **more,
            )
        except FieldError as error:
            raise _manifest_error(error) from None
        manifest.validate()
        return manifest

    # -- bytes -----------------------------------------------------------------------------------------------

    def canonical_bytes(self) -> bytes:
        """Return the bytes that the swarm id hashes and the signature signs: everything but the signature."""
        return self._canonical_bytes

    @cached_property
    def _canonical_bytes(self) -> bytes:
        """Made once: the object cannot change, and its id is asked for again and again."""
        content = self.to_dict()
        del content["signature"]
        return canonical_json(content)

    def manifest_hash(self) -> str:
        """Return the SHA-256 of the canonical bytes in lower-case hex: the swarm's id."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()

    @property
    def swarm_id(self) -> str:
        """The swarm's id in lower-case hex, the same as `manifest_hash()`."""
        return self.manifest_hash()

    def to_json(self, *, pretty: bool = True) -> bytes:
        """Return the file form, which carries the signature in either layout."""
        return pretty_json(self.to_dict()) if pretty else canonical_json(self.to_dict())

    @classmethod
    def from_json(cls, data: bytes, *, unix_now: float | None = None) -> Self:
        """Read the file form and validate it.

        Args:
            data: the bytes of a manifest file, trusted in no way.
            unix_now: the current unix time, to refuse an expired manifest; None does not look at the expiry.

        Raises:
            ManifestError: whatever is wrong, and nothing else for any bytes.
        """
        manifest = cls.from_dict(parse_json_untrusted(data))
        manifest.validate()
        if unix_now is not None:
            manifest.check_expired(unix_now)
        return manifest

    @classmethod
    def from_dict(cls, value: object) -> Self:
        """Build a manifest from its JSON form; see `validate()` for what a complete one needs beyond.

        Raises:
            ManifestError: not an object, another schema, unknown or missing keys, or a value that is not
                admitted.
        """
        if not isinstance(value, Mapping):
            raise ManifestError(
                ErrorName.ERR_MANIFEST_NOT_OBJECT, {"reason": f"expected an object, got {kind(value)}"}
            )
        version = value.get("schema_version")
        if type(version) is not int or version != MANIFEST_SCHEMA_VERSION:
            raise ManifestError(
                ErrorName.ERR_MANIFEST_SCHEMA_VERSION,
                {
                    "field": "schema_version",
                    "reason": f"is {show(version)}, not {MANIFEST_SCHEMA_VERSION}",
                    "hint": "make the manifest anew with this version, or update the program",
                    "expected": MANIFEST_SCHEMA_VERSION,
                    "actual": version,
                },
            )
        names = tuple(field.name for field in fields(cls))
        required = tuple(name for name in names if name not in cls.OPTIONAL_KEYS)
        try:
            return cls(**check_keys(value, required=required, optional=cls.OPTIONAL_KEYS))
        except FieldError as error:
            raise _manifest_error(error) from None

    # -- checks ----------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Check what only a complete manifest must satisfy (see `quinkgl.manifest.checks`).

        Raises:
            ManifestError: incomplete, larger than a peer accepts, or a combination that can never work.
        """
        for check in checks.CHECKS:
            check(self)

    def check_expired(self, unix_now: float) -> None:
        """Refuse a manifest whose time is over.

        Raises:
            ManifestError: ERR_MANIFEST_EXPIRED when `unix_now` (unix seconds) has reached `expires_at`.
        """
        if self.expires_unix is not None and unix_now >= self.expires_unix:
            raise ManifestError(
                ErrorName.ERR_MANIFEST_EXPIRED,
                {
                    "field": "expires_at",
                    "reason": f"expired at {self.expires_at}",
                    "hint": "ask the swarm's creator for a newer manifest, and check this machine's clock",
                    "unix_now": unix_now,
                },
            )

    @property
    def expires_unix(self) -> float | None:
        """The time of expiry in unix seconds, or None for a manifest without one."""
        return None if self.expires_at is None else unix_seconds(self.expires_at)

    # -- identity --------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SwarmManifest):
            return NotImplemented
        return self.signature == other.signature and self.canonical_bytes() == other.canonical_bytes()

    def __hash__(self) -> int:
        return hash(self.canonical_bytes())

    def __reduce__(self) -> tuple[Any, ...]:
        return SwarmManifest.from_dict, (self.to_dict(),)


def _strategy(value: str | StrategySpec) -> StrategySpec:
    return StrategySpec(name=value) if isinstance(value, str) else value


def _listed(value: object) -> object:
    return value if isinstance(value, str) else [*value] if isinstance(value, Sequence) else value


def _manifest_error(error: FieldError) -> ManifestError:
    code = error.code
    if error.field.partition(".")[0] == "data_policy":
        code = ErrorName.ERR_MANIFEST_DATA_POLICY
    context: dict[str, Any] = {"field": error.field, "reason": error.reason}
    if error.keys:
        context["keys"] = error.keys
        context["hint"] = "schema 3 lists its keys in docs/reference/manifest-schema.md"
    return ManifestError(code, context)

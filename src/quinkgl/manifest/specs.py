"""The parts of a manifest below its top level: task, model, strategies, Byzantine bound, bootstrap peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from quinkgl.manifest.errors import FieldError
from quinkgl.manifest.record import (
    Record,
    Rule,
    array,
    boolean,
    checked,
    choice,
    integer,
    json_object,
    made,
    optional,
    show,
    text,
)

SHA256 = text(71, 71, pattern=r"sha256:[0-9a-f]{64}", means="sha256: and 64 lower-case hex digits")
FRAMEWORKS = ("pytorch", "tensorflow", "custom")
TASK_TYPES = ("classification", "regression", "segmentation", "detection")
LABEL_TYPES = ("integer", "float", "binary", "multiclass", "multilabel")

_SHAPE = array(integer(1, 1 << 31), 1, 16)
_TAGS = array(
    text(1, 32, pattern=r"[a-z0-9][a-z0-9-]{0,31}", means="lower-case letters, digits and -"), 0, 16
)


def _no_params() -> Mapping[str, Any]:
    return MappingProxyType({})


def url(*schemes: str) -> Rule:
    """Admit an absolute URL with a host and one of the schemes."""
    characters = text(1, 2048, pattern=r"[!-~]+", means="printable ASCII without spaces")

    def rule(value: object) -> str:
        given: str = characters(value)
        try:
            parts = urlsplit(given)
            sound = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            sound = False
        if not sound or parts.scheme not in schemes:
            raise FieldError("", f"{show(given)} is not a URL with a host and scheme {' or '.join(schemes)}")
        return given

    return rule


def host_port(value: object) -> str:
    """Admit `host:port` or `[IPv6]:port` with a port of 1 to 65535."""
    given: str = text(3, 262, pattern=r"[!-~]+", means="host:port")(value)
    host, _, port = given.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise FieldError("", f"{show(given)} is not host:port")
    return given


def _dashboard_url(value: object) -> str:
    """Admit "" (none) or the base address of a dashboard, to which clients append `/api/…` themselves."""
    if value == "":
        return ""
    given: str = url("http", "https")(value)
    if "api" in urlsplit(given).path.strip("/").split("/"):
        raise FieldError("", f"{show(given)} contains /api; give the base address, clients append /api")
    return given


@dataclass(frozen=True)
class StrategySpec(Record):
    """A strategy by its public name (`FedAvg`, `Random`) and the parameters of its constructor."""

    name: str = checked("FedAvg", text(1, 64))
    params: Mapping[str, Any] = made(_no_params, json_object)


@dataclass(frozen=True)
class CompressionSpec(Record):
    """Whether updates are compressed on the wire, and with which parameters."""

    enabled: bool = checked(False, boolean)
    params: Mapping[str, Any] = made(_no_params, json_object)


@dataclass(frozen=True)
class TaskSpec(Record):
    """What is learned: shapes are those of one sample, without the batch axis."""

    type: str = checked("classification", choice(*TASK_TYPES))
    input_shape: tuple[int, ...] = checked((1,), _SHAPE)
    output_shape: tuple[int, ...] = checked((1,), _SHAPE)
    label_type: str = checked("integer", choice(*LABEL_TYPES))
    tags: tuple[str, ...] = checked((), _TAGS)


@dataclass(frozen=True)
class ModelSpec(Record):
    """The model that every member holds, by the hash of its architecture (`compute_arch_hash`).

    A model that is neither a PyTorch nor a TensorFlow one, NumPy's among them, has framework `custom`.
    """

    framework: str = checked("custom", choice(*FRAMEWORKS))
    arch_hash: str = checked("sha256:" + "0" * 64, SHA256)
    arch_spec: Mapping[str, Any] | None = checked(None, optional(json_object))
    genesis_weights_hash: str | None = checked(None, optional(SHA256))
    genesis_weights_url: str | None = checked(None, optional(url("http", "https")))


@dataclass(frozen=True)
class ByzantineSpec(Record):
    """How many of a member's neighbours may be hostile, and whether n > 2f + 2 is demanded each round."""

    f: int = checked(0, integer(0, 1 << 16))
    enforce_n_gt_2f_plus_2: bool = checked(False, boolean)


@dataclass(frozen=True)
class BootstrapPeer(Record):
    """A peer that a newcomer may ask first; `peer_id` is what it must prove to be."""

    kind: str = checked("ipv8", choice("ipv8", "tunnel"))
    peer_id: str = checked("", text(1, 256, pattern=r"[0-9a-f]+", means="lower-case hex digits"))
    address: str = checked("", host_port)


@dataclass(frozen=True)
class TelemetrySpec(Record):
    """Where a swarm's dashboard is, if its creator runs one. Naming it here sends nothing by itself."""

    dashboard_url: str = checked("", _dashboard_url)
    enrollment: str = checked("none", choice("invite-required", "none"))

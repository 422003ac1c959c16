from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quinkgl.manifest import ErrorName, FieldError, ManifestError, StrategySpec, SwarmManifest, TaskSpec
from quinkgl.manifest.checks import MAX_CANONICAL_BYTES
from quinkgl.manifest.specs import host_port
from quinkgl.testing.manifests import make_dummy_manifest

VECTORS = Path(__file__).parent / "vectors"
GOLDEN = json.loads((VECTORS / "golden.json").read_text(encoding="utf-8"))
FILES = sorted(GOLDEN["files"])
BUILD = {
    "framework": "custom",
    "arch_hash": "sha256:" + "1" * 64,
    "input_shape": (64,),
    "output_shape": (10,),
}


def refused(value) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        SwarmManifest.from_json(value if isinstance(value, bytes) else json.dumps(value).encode())
    return caught.value


def leaves(value, path=()):
    """Every path in a JSON value that ends in a scalar or an empty container."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for key, item in items for leaf in leaves(item, (*path, key))]
    return found or [path]


def edit(value, path, change):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return value


DUMMY = make_dummy_manifest().to_dict()
PATHS = leaves(DUMMY)


# -- interoperability


@pytest.mark.parametrize("name", FILES)
def test_published_files_keep_their_bytes_and_ids(name):
    data = (VECTORS / name).read_bytes()
    expected = GOLDEN["files"][name]
    manifest = SwarmManifest.from_json(data)
    assert manifest.manifest_hash() == manifest.swarm_id == expected["swarm_id"]
    assert len(manifest.canonical_bytes()) == expected["canonical_bytes"]
    assert manifest.to_json() == data
    assert (manifest.signature is not None) == expected["signed"]


def test_the_default_manifest_and_the_dummy_one():
    default = SwarmManifest()
    assert default.to_dict() == json.loads((VECTORS / "default-manifest.json").read_text(encoding="utf-8"))
    assert default.swarm_id == GOLDEN["SwarmManifest()"]["swarm_id"]
    assert make_dummy_manifest().swarm_id == GOLDEN["make_dummy_manifest() hash"]


def test_scalar_types_survive_so_that_1_and_1_0_are_different_swarms():
    one = edit(DUMMY, ("data_policy", "feature_clip_norm"), lambda inner, key: inner.update({key: 5}))
    whole = SwarmManifest.from_dict(one)
    assert b'"feature_clip_norm":5,' in whole.canonical_bytes()
    assert whole.swarm_id != make_dummy_manifest().swarm_id
    assert whole != make_dummy_manifest()
    assert whole.data_policy == make_dummy_manifest().data_policy  # the same numbers all the same


# -- the signature is outside the hash, and always travels


@pytest.mark.parametrize("pretty", [True, False])
def test_the_signature_travels_in_both_layouts_and_does_not_change_the_id(pretty):
    signed = SwarmManifest.from_json((VECTORS / "signed-krum.qgl").read_bytes())
    again = SwarmManifest.from_json(signed.to_json(pretty=pretty))
    assert again.signature == signed.signature
    assert again == signed
    assert replace(signed, signature=None).swarm_id == signed.swarm_id
    assert replace(signed, signature=None) != signed


# -- every mutation is refused or makes another swarm


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_removing_or_changing_any_key_is_refused_or_makes_another_swarm(path):
    original = make_dummy_manifest().swarm_id

    def outcome(value):
        try:
            return SwarmManifest.from_json(json.dumps(value).encode()).swarm_id
        except ManifestError:
            return None

    removed = outcome(edit(DUMMY, path, lambda inner, key: inner.pop(key)))
    # Only a top-level key that may be absent, removed at its default, means the same as before.
    assert removed != original or path[0] in SwarmManifest.OPTIONAL_KEYS
    for other in (
        None,
        True,
        False,
        0,
        7,
        0.25,
        1e300,
        "",
        "other",
        "ed25519:" + "0" * 64,
        [],
        {},
        [1],
        {"a": 1},
    ):
        before = DUMMY
        for key in path:
            before = before[key]
        if type(other) is type(before) and other == before:
            continue
        changed = outcome(edit(DUMMY, path, lambda inner, key, other=other: inner.__setitem__(key, other)))
        assert changed != original or path == ("signature",), (path, other)


@given(path=st.sampled_from([path[:-1] for path in PATHS]), key=st.text(min_size=1, max_size=12))
def test_an_unknown_key_anywhere_is_refused_or_makes_another_swarm(path, key):
    inner = DUMMY
    for step in path:
        inner = inner[step]
    if not isinstance(inner, dict) or key in inner:
        return
    changed = edit(DUMMY, (*path, key), lambda inner, key: inner.__setitem__(key, 1))
    error = refused(changed) if path[-1:] != ("params",) else None
    if error is None:
        assert SwarmManifest.from_dict(changed).swarm_id != make_dummy_manifest().swarm_id
    else:
        assert error.args[0] in {ErrorName.ERR_MANIFEST_UNKNOWN_KEYS, ErrorName.ERR_MANIFEST_DATA_POLICY}
        assert key in error.args[1]["keys"]


# -- refusals in their published order and code


@pytest.mark.parametrize("value", [[], "x", 3, None, True])
def test_what_is_no_object_is_refused(value):
    assert refused(value).args[0] == ErrorName.ERR_MANIFEST_NOT_OBJECT


@pytest.mark.parametrize("version", [2, 4, 3.0, "3", True, None])
def test_another_schema_is_refused_before_anything_else(version):
    assert refused({"schema_version": version, "bogus": 1}).args[0] == ErrorName.ERR_MANIFEST_SCHEMA_VERSION


def test_unknown_keys_come_before_missing_ones_and_both_before_fields():
    broken = {**DUMMY, "name": 7, "zzz": 1}
    del broken["task"]
    error = refused(broken)
    assert error.args[0] == ErrorName.ERR_MANIFEST_UNKNOWN_KEYS
    assert error.args[1]["keys"] == ("zzz",)
    del broken["zzz"]
    error = refused(broken)
    assert error.args[0] == ErrorName.ERR_MANIFEST_MISSING_KEYS
    assert error.args[1]["keys"] == ("task",)
    error = refused({**DUMMY, "name": 7})
    assert error.args[0] == ErrorName.ERR_MANIFEST_FIELD_INVALID
    assert str(error) == "ERR_MANIFEST_FIELD_INVALID: name: expected a string, got an integer 7"


BAD_VALUES = [
    (("name",), "", "0 characters"),
    (("name",), "a\nb", "control character"),
    (("name",), "\ud800", "lone surrogate"),
    (("name",), "n" * 129, "129 characters"),
    (("description",), "d" * 1025, "1025 characters"),
    (("created_at",), "yesterday", "not a UTC time"),
    (("expires_at",), "1960-01-01T00:00:00Z", "is not after created_at"),
    (("round_limit",), -1, "between 0"),
    (("round_limit",), 1.0, "expected an integer"),
    (("model_arch_fingerprint",), "", "is empty"),
    (("data_schema_hash",), "", "is empty"),
    (("task", "type"), "classify", "none of classification"),
    (("task", "input_shape"), [], "0 items"),
    (("task", "input_shape"), [0], r"task\.input_shape\[0\]: 0"),
    (("task", "input_shape"), [1.0], "expected an integer"),
    (("task", "label_type"), "int", "none of integer"),
    (("task", "tags"), ["Upper"], "lower-case letters"),
    (("task", "tags"), ["t"] * 17, "17 items"),
    (("model", "framework"), "jax", "none of pytorch"),
    (("model", "arch_hash"), "sha256:" + "A" * 64, "64 lower-case hex"),
    (("model", "arch_spec"), [], "expected an object"),
    (("model", "genesis_weights_url"), "file:///etc/passwd", "not a URL"),
    (("byzantine", "f"), -1, "between"),
    (("byzantine", "enforce_n_gt_2f_plus_2"), 0, "expected true or false"),
    (
        ("bootstrap_peers",),
        [{"kind": "ipv8", "peer_id": "", "address": "a:1"}],
        r"bootstrap_peers\[0\]\.peer_id",
    ),
    (("bootstrap_peers",), [{"kind": "udp", "peer_id": "ab", "address": "a:1"}], "none of ipv8, tunnel"),
    (("bootstrap_peers",), [{"kind": "ipv8", "peer_id": "ab", "address": "a:0"}], "not host:port"),
    (("bootstrap_peers",), [{"kind": "ipv8", "peer_id": "ab", "address": "::1:80"}], "not host:port"),
    (("tracker_urls",), [["ftp://x/"]], "scheme http or https or udp"),
    (("tracker_urls",), [["http://[::1"]], "not a URL"),
    (("telemetry", "dashboard_url"), "https://host/api", "contains /api"),
    (("telemetry", "dashboard_url"), "https://", "not a URL"),
    (("telemetry", "enrollment"), "open", "none of invite-required, none"),
    (("creator_pubkey",), "ed25519:00", "10 characters"),
    (("signature",), "ed25519:" + "0" * 128, "although there is a signature"),
    (("aggregation", "params"), {"x": "\x00"}, "control character"),
    (("aggregation", "name"), "", "0 characters"),
]


@pytest.mark.parametrize(("path", "value", "words"), BAD_VALUES, ids=lambda value: str(value)[:30])
def test_a_bad_value_is_refused_by_its_path(path, value, words):
    error = refused(edit(DUMMY, path, lambda inner, key: inner.__setitem__(key, value)))
    assert error.args[0] == ErrorName.ERR_MANIFEST_FIELD_INVALID
    assert error.args[1]["field"].startswith(".".join(path)) or path == ("signature",)
    with pytest.raises(ManifestError, match=words):
        raise error


def test_a_bad_data_policy_has_a_code_of_its_own():
    error = refused(
        edit(DUMMY, ("data_policy", "min_affinity"), lambda inner, key: inner.__setitem__(key, 2))
    )
    assert error.args[0] == ErrorName.ERR_MANIFEST_DATA_POLICY
    assert error.args[1]["field"] == "data_policy.min_affinity"


def test_deep_parameters_and_large_manifests_are_refused():
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    assert "deeper than 16" in str(
        refused({**DUMMY, "aggregation": {"name": "FedAvg", "params": {"x": deep}}})
    )
    assert "canonical bytes" in str(
        refused({**DUMMY, "aggregation": {"name": "A", "params": {"x": ["a" * 8000] * 2}}})
    )


@pytest.mark.parametrize(("lists", "fits"), [(15, True), (16, False)])
def test_the_depth_of_parameters_is_exact(lists, fits):
    deep: object = 1
    for _ in range(lists):
        deep = [deep]
    value = {**DUMMY, "aggregation": {"name": "FedAvg", "params": {"x": deep}}}
    if fits:
        assert SwarmManifest.from_dict(value).to_dict() == value
    else:
        assert "deeper than 16" in str(refused(value))


@pytest.mark.parametrize(("digits", "fits"), [(1, True), (256, True), (257, False)])
def test_the_length_of_a_peers_id_is_bounded(digits, fits):
    value = {**DUMMY, "bootstrap_peers": [{"kind": "ipv8", "peer_id": "a" * digits, "address": "a:1"}]}
    if fits:
        assert SwarmManifest.from_dict(value).to_dict() == value
    else:
        assert "257 characters" in str(refused(value))


def test_the_bound_of_canonical_bytes_is_exact():
    def with_padding(count):
        return make_dummy_manifest(aggregation=StrategySpec("FedAvg", {"x": "a" * count}))

    room = MAX_CANONICAL_BYTES - len(with_padding(0).canonical_bytes())
    assert len(with_padding(room).canonical_bytes()) == MAX_CANONICAL_BYTES
    with pytest.raises(ManifestError, match=f"{MAX_CANONICAL_BYTES + 1} canonical bytes"):
        with_padding(room + 1)


def test_an_error_shows_the_beginning_of_a_long_value():
    error = str(refused({**DUMMY, "creator_pubkey": "x" * 72, "task": {**DUMMY["task"], "type": "y" * 5000}}))
    assert "yyyy" in error
    assert len(error) < 300


@pytest.mark.parametrize(
    ("place", "fits"), [("a:1", True), ("a:65535", True), ("a:0", False), ("a:65536", False)]
)
def test_the_range_of_ports_is_exact(place, fits):
    if fits:
        assert host_port(place) == place
    else:
        with pytest.raises(FieldError):
            host_port(place)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_manifest_error(data):
    refused(data)


@given(path=st.sampled_from(PATHS), cut=st.integers(0, 3000), noise=st.binary(min_size=1, max_size=4))
def test_a_damaged_file_gives_a_manifest_or_a_manifest_error(path, cut, noise):
    data = make_dummy_manifest().to_json()
    for damaged in (data[:cut], data[:cut] + noise + data[cut + len(noise) :]):
        try:
            SwarmManifest.from_json(damaged)
        except ManifestError as error:
            assert "\n" not in str(error)
    assert path


# -- time


def test_expiry_is_checked_where_the_time_is_given():
    manifest = make_dummy_manifest(expires_at="1970-01-01T00:01:40Z")
    data = manifest.to_json()
    assert SwarmManifest.from_json(data) == manifest  # nobody asked
    assert SwarmManifest.from_json(data, unix_now=99.9) == manifest
    with pytest.raises(ManifestError) as caught:
        SwarmManifest.from_json(data, unix_now=100.0)
    assert caught.value.args[0] == ErrorName.ERR_MANIFEST_EXPIRED
    make_dummy_manifest().check_expired(1e12)


# -- the object


def test_build_is_complete_and_reproducible():
    manifest = SwarmManifest.build("digits", created_at=1_700_000_000, **BUILD)
    assert manifest.created_at == "2023-11-14T22:13:20Z"
    assert (manifest.aggregation.name, manifest.topology.name) == ("FedAvg", "Random")
    assert manifest.model_arch_fingerprint == manifest.model.arch_hash == BUILD["arch_hash"]
    assert manifest.data_schema_hash.startswith("sha256:")
    assert SwarmManifest.from_json(manifest.to_json()) == manifest
    assert (
        SwarmManifest.build("digits", created_at="2023-11-14T22:13:20Z", **BUILD).swarm_id
        == manifest.swarm_id
    )


@pytest.mark.parametrize(
    "change",
    [
        {"created_at": 1_700_000_001},
        {"aggregation": StrategySpec("Krum", {"num_byzantines": 1})},
        {"topology": "Cyclon"},
        {"input_shape": (65,)},
        {"round_limit": 3},
        {"tags": ("vision",)},
    ],
    ids=str,
)
def test_build_with_anything_else_is_another_swarm(change):
    original = SwarmManifest.build("digits", created_at=1_700_000_000, **BUILD)
    assert (
        SwarmManifest.build("digits", **{"created_at": 1_700_000_000, **BUILD, **change}).swarm_id
        != original.swarm_id
    )


def test_build_refuses_with_a_manifest_error():
    with pytest.raises(ManifestError, match=r"input_shape\[0\]"):
        SwarmManifest.build("digits", created_at=0, **{**BUILD, "input_shape": (0,)})


def test_a_manifest_is_immutable_to_its_leaves():
    manifest = make_dummy_manifest(aggregation=StrategySpec("Krum", {"nested": {"f": [1, 2]}}))
    with pytest.raises(FrozenInstanceError):
        manifest.name = "other"
    with pytest.raises(TypeError):
        manifest.aggregation.params["nested"]["f"] = 3
    given_params = {"f": [1]}
    spec = StrategySpec("Krum", given_params)
    given_params["f"].append(2)
    assert spec.to_dict() == {"name": "Krum", "params": {"f": [1]}}


def test_copies_pickles_and_hashes():
    manifest = make_dummy_manifest(aggregation=StrategySpec("Krum", {"f": 2}))
    assert pickle.loads(pickle.dumps(manifest)) == copy.deepcopy(manifest) == manifest
    assert len({manifest, copy.copy(manifest), make_dummy_manifest()}) == 2
    assert manifest != "manifest"


def test_a_task_by_hand_raises_a_value_error_of_its_field():
    with pytest.raises(ValueError, match=r"^type: 'x' is none of"):
        TaskSpec(type="x")

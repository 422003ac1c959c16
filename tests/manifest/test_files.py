from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from quinkgl.manifest import (
    ErrorName,
    ManifestError,
    check_swarm_id,
    keygen,
    load_manifest_file,
    read_fetched_manifest,
    sign_manifest,
)
from quinkgl.manifest.canonical import MAX_FILE_BYTES
from quinkgl.testing.manifests import make_dummy_manifest

VECTORS = Path(__file__).parent / "vectors"


def test_load_gives_what_was_written(tmp_path):
    path = tmp_path / "swarm.qgl"
    signed = sign_manifest(make_dummy_manifest(), keygen()[0])
    for pretty in (True, False):
        path.write_bytes(signed.to_json(pretty=pretty))
        assert load_manifest_file(path, expected_swarm_id=signed.swarm_id, unix_now=0.0) == signed


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_manifest_file(tmp_path / "none.qgl")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", ErrorName.ERR_MANIFEST_INVALID_JSON),
        (b"[]", ErrorName.ERR_MANIFEST_NOT_OBJECT),
        (b" " * (MAX_FILE_BYTES + 1), ErrorName.ERR_MANIFEST_INVALID_JSON),
        (
            replace(make_dummy_manifest(), expires_at="1970-01-02T00:00:00Z").to_json(),
            ErrorName.ERR_MANIFEST_EXPIRED,
        ),
        (make_dummy_manifest(name="other").to_json(), ErrorName.ERR_MANIFEST_HASH_MISMATCH),
        (
            replace(sign_manifest(make_dummy_manifest(), keygen()[0]), name="forged").to_json(),
            ErrorName.ERR_SIGNATURE_INVALID,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, ErrorName) else "",
)
def test_an_error_names_the_file(tmp_path, content, code):
    path = tmp_path / "bad.qgl"
    path.write_bytes(content)
    expected = make_dummy_manifest().swarm_id if code is ErrorName.ERR_MANIFEST_HASH_MISMATCH else None
    with pytest.raises(ManifestError) as caught:
        load_manifest_file(path, expected_swarm_id=expected, unix_now=1e9)
    assert caught.value.args[0] == code
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_more_of_a_file_is_read_than_a_manifest_may_have(tmp_path):
    path = tmp_path / "endless.qgl"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk, and no memory holds it
    with pytest.raises(ManifestError, match=f"{MAX_FILE_BYTES + 1} bytes"):
        load_manifest_file(path)


def test_a_mismatch_says_what_was_asked_for_and_what_came():
    manifest, asked = make_dummy_manifest(), "ab" * 32
    with pytest.raises(ManifestError) as caught:
        check_swarm_id(manifest, asked)
    assert (caught.value.context["expected"], caught.value.context["actual"]) == (asked, manifest.swarm_id)


def test_a_fetched_manifest_that_has_ended_is_refused():
    manifest = replace(make_dummy_manifest(), expires_at="1970-01-02T00:00:00Z")
    fetched = (manifest.canonical_bytes(), None)
    ends = manifest.expires_unix
    assert read_fetched_manifest(*fetched, expected_swarm_id=manifest.swarm_id) == manifest
    assert read_fetched_manifest(*fetched, expected_swarm_id=manifest.swarm_id, unix_now=ends - 1) == manifest
    with pytest.raises(ManifestError) as caught:
        read_fetched_manifest(*fetched, expected_swarm_id=manifest.swarm_id, unix_now=ends)
    assert caught.value.code is ErrorName.ERR_MANIFEST_EXPIRED


def test_a_forged_signature_is_loaded_only_by_who_asks_not_to_look(tmp_path):
    forged = replace(sign_manifest(make_dummy_manifest(), keygen()[0]), name="forged")
    path = tmp_path / "forged.qgl"
    path.write_bytes(forged.to_json())
    assert load_manifest_file(path, check_signature=False) == forged

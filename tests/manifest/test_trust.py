"""Only manifests of trusted creators, where that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quinkgl.manifest import ErrorName, ManifestError, check_creator, keygen, sign_manifest
from quinkgl.testing.swarms import small_manifest


def test_a_trusted_creator_is_taken_and_others_are_refused():
    pem, _ = keygen()
    signed = sign_manifest(small_manifest(), pem)
    check_creator(signed, [signed.creator_pubkey])
    other = "ed25519:" + "00" * 32
    forged = replace(signed, signature="ed25519:" + "00" * 64)
    for manifest, trusted, code in (
        (signed, [other], ErrorName.ERR_CREATOR_NOT_TRUSTED),
        (small_manifest(), [other], ErrorName.ERR_NODE_UNSIGNED_MANIFEST_REJECTED),
        (forged, [signed.creator_pubkey], ErrorName.ERR_SIGNATURE_INVALID),
    ):
        with pytest.raises(ManifestError) as caught:
            check_creator(manifest, trusted)
        assert caught.value.code is code

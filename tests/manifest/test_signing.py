from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from quinkgl.manifest import ErrorName, ManifestError, SwarmManifest, keygen, sign_manifest, verify_manifest
from quinkgl.testing.manifests import make_dummy_manifest

VECTORS = Path(__file__).parent / "vectors"
GOLDEN = json.loads((VECTORS / "golden.json").read_text(encoding="utf-8"))["signing"]


def pem(private) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


GOLDEN_PEM = pem(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GOLDEN["Ed25519 private key"])))


def test_the_published_signature():
    signed = sign_manifest(SwarmManifest(), GOLDEN_PEM)
    assert signed.creator_pubkey == GOLDEN["public"]
    assert signed.swarm_id == GOLDEN["SwarmManifest() signed with it: swarm_id"]
    assert signed.signature == GOLDEN["signature"]
    assert verify_manifest(signed)


def test_the_published_signed_file_verifies():
    assert verify_manifest(SwarmManifest.from_json((VECTORS / "signed-krum.qgl").read_bytes()))


def test_a_changed_manifest_or_signature_or_creator_does_not_verify():
    signed = sign_manifest(make_dummy_manifest(), GOLDEN_PEM)
    other = sign_manifest(make_dummy_manifest(), keygen()[0])
    assert not verify_manifest(replace(signed, name="other"))
    assert not verify_manifest(replace(signed, signature=other.signature))
    assert not verify_manifest(replace(signed, creator_pubkey=other.creator_pubkey))
    assert not verify_manifest(replace(signed, signature="ed25519:" + "0" * 128))
    assert not verify_manifest(replace(signed, signature=None))
    assert not verify_manifest(make_dummy_manifest())


def test_a_creator_of_small_order_verifies_nothing():
    # Under the neutral element as public key, R = s·B verifies for every message: here s = 1 and R = B.
    neutral = (1).to_bytes(32, "little")
    base_point = bytes.fromhex("58" + "66" * 31)
    forged = make_dummy_manifest(
        creator_pubkey=f"ed25519:{neutral.hex()}", signature=f"ed25519:{(base_point + neutral).hex()}"
    )
    public = Ed25519PublicKey.from_public_bytes(neutral)
    public.verify(base_point + neutral, forged.canonical_bytes())  # the bare equation holds
    assert not verify_manifest(forged)


def test_signing_again_replaces_the_signature_and_never_the_creator():
    signed = sign_manifest(make_dummy_manifest(), GOLDEN_PEM)
    renamed = sign_manifest(replace(signed, name="renamed"), GOLDEN_PEM)
    assert verify_manifest(renamed)
    with pytest.raises(ManifestError, match="names ed25519:03a107") as caught:
        sign_manifest(signed, keygen()[0])
    assert caught.value.args[0] == ErrorName.ERR_SIGNATURE_INVALID


@pytest.mark.parametrize("key", [b"", b"-----BEGIN NONSENSE", pem(ec.generate_private_key(ec.SECP256R1()))])
def test_what_is_no_ed25519_key_is_refused(key):
    with pytest.raises(ManifestError, match="keygen") as caught:
        sign_manifest(make_dummy_manifest(), key)
    assert caught.value.args[0] == ErrorName.ERR_SIGNATURE_INVALID


def test_keygen_writes_a_private_file_once(tmp_path):
    path = tmp_path / "creator.pem"
    private, public = keygen(path)
    assert path.read_bytes() == private
    assert len(public) == 32
    assert sign_manifest(make_dummy_manifest(), private).creator_pubkey == f"ed25519:{public.hex()}"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        keygen(path)
    assert path.read_bytes() == private
    again, _ = keygen(path, overwrite=True)
    assert path.read_bytes() == again != private
    assert [entry.name for entry in tmp_path.iterdir()] == ["creator.pem"]


def test_keygen_never_writes_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link = tmp_path / "link.pem"
    link.symlink_to(victim)
    with pytest.raises(FileExistsError):
        keygen(link)
    keygen(link, overwrite=True)
    assert victim.read_bytes() == b"precious"
    assert not link.is_symlink()

from __future__ import annotations

import pickle

from quinkgl.manifest import ErrorName, ManifestError


def test_every_code_equals_its_own_name():
    assert all(code == code.name and code.name.startswith("ERR_") for code in ErrorName)


def test_a_manifest_error_is_a_value_error_of_code_and_context():
    error = ManifestError(
        ErrorName.ERR_MANIFEST_EXPIRED, {"field": "expires_at", "reason": "is over", "hint": "ask"}
    )
    assert isinstance(error, ValueError)
    assert error.args == (
        "ERR_MANIFEST_EXPIRED",
        {"field": "expires_at", "reason": "is over", "hint": "ask"},
    )
    assert str(error) == "ERR_MANIFEST_EXPIRED: expires_at: is over; ask"
    assert str(error.with_context(path="a.qgl")) == "ERR_MANIFEST_EXPIRED: a.qgl, expires_at: is over; ask"
    assert pickle.loads(pickle.dumps(error)).args == error.args

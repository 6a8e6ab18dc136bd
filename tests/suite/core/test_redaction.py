"""Addresses without their secrets."""

from __future__ import annotations

import pytest

from suite.core.redaction import redact_text, redact_uri


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("postgresql://me:secret@db:5432/ml", "postgresql://me:***@db:5432/ml"),
        ("postgresql://me:se@cret@db/ml", "postgresql://me:***@db/ml"),
        ("postgresql://me:se/cr:et@db:5432/ml", "postgresql://me:***@db:5432/ml"),
        ("postgresql://me:se?cret@db/ml", "postgresql://me:***@db/ml"),
        ("postgresql://me:se#cret@db/ml", "postgresql://me:***@db/ml"),
        ("postgresql://me:123?secret@db/ml", "postgresql://me:***@db/ml"),
        ("postgresql://me:123/secret@db/ml", "postgresql://me:***@db/ml"),
        ("postgresql://me:sec ret@db/ml", "postgresql://me:***@db/ml"),
        ("postgresql://me:%73ecret@db:1,db:2/ml", "postgresql://me:***@db:1,db:2/ml"),
        ("postgresql+psycopg://me@db/ml", "postgresql+psycopg://me@db/ml"),
        ("postgresql://db/ml?user=me&password=secret", "postgresql://db/ml?user=me&password=***"),
        ("postgresql://db:5432/ml?PWD=secret;sslmode=require", "postgresql://db:5432/ml?PWD=***;sslmode=require"),
        (
            "postgresql://db:5432/ml?user=me@corp&sslpassword=secret",
            "postgresql://db:5432/ml?user=me@corp&sslpassword=***",
        ),
        ("postgresql://[::1]:5432/ml", "postgresql://[::1]:5432/ml"),
        ("postgresql:///ml?host=/run/postgresql", "postgresql:///ml?host=/run/postgresql"),
        ("mysql+pymysql://me:se'cret@db/ml", "mysql+pymysql://me:***@db/ml"),
        ("https://me:secret@tracking.example/mlflow", "https://tracking.example/mlflow"),
        ("https://secret@tracking.example/mlflow", "https://tracking.example/mlflow"),
        ("https://me:se/cret@tracking.example/mlflow", "https://tracking.example/mlflow"),
        ("https://tracking.example/?token=secret", "https://tracking.example/?token=***"),
        ("http://127.0.0.1:5000/a@b", "http://127.0.0.1:5000/a@b"),
        ("http://127.0.0.1:5000/a@b?c=d@e", "http://127.0.0.1:5000/a@b?c=d@e"),
        ("sqlite:////a:b@c/mlflow.db", "sqlite:////a:b@c/mlflow.db"),
        ("sqlite:///runs/mlflow.db", "sqlite:///runs/mlflow.db"),
        ("runs/mlflow.db", "runs/mlflow.db"),
    ],
)
def test_an_address_keeps_its_place_and_loses_its_secret(uri: str, public: str) -> None:
    assert redact_uri(uri) == public
    assert redact_uri(public) == public


def test_ray_connectiones_in_a_message() -> None:
    told = "API request to https://me:secret@tracker/api failed, so postgresql://me:secret@db/x was asked"
    assert redact_text(told) == "API request to https://tracker/api failed, so postgresql://me:***@db/x was asked"

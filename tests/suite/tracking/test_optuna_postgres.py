"""The searches on PostgreSQL: a server of this machine's, in a folder of its own. Skipped where there is none."""

from __future__ import annotations

import pytest

from suite.core.errors import UserError
from suite.tracking.optuna_mirror import check_mirror, forget_mirror
from tests.analysis.records import test_collect_postgres as postgres
from tests.suite.sweep.test_scheduler import ASHA
from tests.suite.tracking.test_optuna_mirror import alone, assert_same, plan, run

uri = postgres.uri  # a fixture


def test_searches_go_to_postgresql_too(uri: str) -> None:
    of = alone(uri, ASHA)
    check_mirror(of.study)
    records = run(uri, of)
    assert_same(uri, of, records)
    run(uri, of, records)
    assert_same(uri, of, records)
    for right, wrong in ((":secret@", ":guess@"), ("/postgres", "/none")):
        with pytest.raises(UserError, match=r"^search\.storage: no database answers at ") as refused:
            check_mirror(plan(uri.replace(right, wrong)).study)
        assert "secret" not in str(refused.value) and "guess" not in str(refused.value)
    assert forget_mirror(of.study) == 1


def test_a_database_of_mlflow_s_is_refused(uri: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE experiments (x int)"))
    try:
        with pytest.raises(UserError, match="is not Optuna's; name a database of its own"):
            check_mirror(plan(uri).study)
    finally:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP TABLE experiments"))
        engine.dispose()

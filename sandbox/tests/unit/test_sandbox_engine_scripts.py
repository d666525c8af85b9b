"""Scripts: variables, blocks, branches, loops, transactions, temporary tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.rows.result import QueryResult


@pytest.fixture(scope="module")
def shared() -> Iterator[Engine]:
    made = Engine(None)
    yield made
    made.close()


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    shared.create_dataset("p", {"datasetReference": {"datasetId": "d"}})
    shared.query("CREATE TABLE d.t (a INT64)", project="p")
    yield shared
    shared.delete_dataset("p", "d", delete_contents=True)


def run_script(engine: Engine, sql: str, **request: Any) -> QueryResult:
    return engine.query(sql, project="p", default_dataset=("p", "d"), **request)


def query_rows(engine: Engine, sql: str, **request: Any) -> list[tuple[Any, ...]]:
    return [
        tuple(cell["v"] for cell in row["f"]) for row in run_script(engine, sql, **request).rows()
    ]


def stored_values(engine: Engine) -> list[str]:
    return [row[0] for row in query_rows(engine, "SELECT a FROM t ORDER BY a")]


def test_variables_parameters_and_branches(engine: Engine) -> None:
    sql = """
        DECLARE total, unused NUMERIC DEFAULT 0;
        DECLARE name STRING;
        DECLARE days ARRAY<DATE>;
        SET total = (SELECT SUM(x) FROM UNNEST([NUMERIC '1.5', 2]) AS x WHERE x <> @skip);
        SET (name, days) = ('k', GENERATE_DATE_ARRAY('2025-01-01', '2025-01-02'));
        IF total > 3 THEN SELECT 'more' AS outcome;
        ELSEIF total = @want THEN
          SELECT total AS outcome, name, ARRAY_LENGTH(days) AS n, @want AS w, unused;
        ELSE SELECT 'less' AS outcome;
        END IF;"""
    numbers = [
        {"name": name, "parameterType": {"type": "NUMERIC"}, "parameterValue": {"value": value}}
        for name, value in (("skip", "2"), ("want", "1.5"))
    ]
    result = run_script(engine, sql, parameters=numbers)
    assert result.statement_type == "SCRIPT"
    assert [cell["v"] for cell in result.rows()[0]["f"]] == ["1.5", "k", "2", "1.5", "0"]
    assert [one.statement_type for one in result.child_results] == ["SELECT"]


def test_loops_end_where_they_should(engine: Engine) -> None:
    run_script(engine, """
        DECLARE i INT64 DEFAULT 0;
        WHILE i < 10 DO
          SET i = i + 1;
          IF MOD(i, 2) = 0 THEN CONTINUE; END IF;
          IF i > 5 THEN BREAK; END IF;
          INSERT INTO t VALUES (i);
        END WHILE;
        LOOP SET i = i * 2; IF i > 100 THEN LEAVE; END IF; END LOOP;
        FOR row IN (SELECT x, x * x AS y FROM UNNEST([10, 11]) AS x) DO
          INSERT INTO t VALUES (row.y);
        END FOR;
        INSERT INTO t VALUES (i)""")  # fmt: skip
    assert stored_values(engine) == ["1", "3", "5", "100", "112", "121"]


def test_a_column_wins_over_a_variable_of_its_name(engine: Engine) -> None:
    run_script(engine, "INSERT INTO t VALUES (1), (2)")
    assert query_rows(engine, "DECLARE a INT64 DEFAULT 2; SELECT COUNT(*) FROM t WHERE a = a") == [
        ("2",)
    ]


def test_a_transaction_commits_or_rolls_back_whole(engine: Engine) -> None:
    run_script(
        engine,
        """BEGIN TRANSACTION; INSERT INTO t VALUES (1);
                   UPDATE t SET a = a + 1 WHERE TRUE; COMMIT TRANSACTION;""",
    )
    assert stored_values(engine) == ["2"]
    result = run_script(
        engine,
        """BEGIN; DELETE FROM t WHERE TRUE; INSERT INTO t VALUES (7);
                            ROLLBACK; SELECT COUNT(*) FROM t""",
    )
    assert [cell["v"] for cell in result.rows()[0]["f"]] == ["1"]
    with pytest.raises(BigQueryError, match="division by zero"):
        run_script(engine, "BEGIN TRANSACTION; INSERT INTO t VALUES (8); SELECT 1/0; COMMIT")
    assert stored_values(engine) == ["2"]
    run_script(engine, "BEGIN TRANSACTION; INSERT INTO t VALUES (9)")
    assert stored_values(engine) == ["2"]


def test_decimals_too_wide_for_the_quick_way_are_exact_inside_a_transaction(
    engine: Engine,
) -> None:
    sql = """BEGIN TRANSACTION; INSERT INTO t VALUES (1);
             SELECT NUMERIC '99999999999999' * (NUMERIC '99999999999999' * a) AS n FROM t; COMMIT"""
    assert query_rows(engine, sql) == [("9999999999999800000000000001",)]


def test_an_exception_handler_goes_on(engine: Engine) -> None:
    sql = """BEGIN SELECT 1/0; EXCEPTION WHEN ERROR THEN SELECT 'handled' AS outcome; END;"""
    assert query_rows(engine, sql) == [("handled",)]
    with pytest.raises(BigQueryError, match="on purpose"):
        run_script(engine, "BEGIN RAISE USING MESSAGE = 'on purpose'; END; SELECT 1")
    with pytest.raises(BigQueryError) as raised:
        run_script(
            engine, "BEGIN SELECT ST_GEOGPOINT(1, 2); EXCEPTION WHEN ERROR THEN SELECT 1; END;"
        )
    assert raised.value.status == 501


def test_temporary_tables_end_with_their_script(engine: Engine) -> None:
    sql = """CREATE TEMP TABLE s AS SELECT 1 AS a, BIGNUMERIC '2.5' AS b;
             INSERT INTO s VALUES (2, 3);
             MERGE t USING s ON t.a = s.a WHEN NOT MATCHED THEN INSERT (a) VALUES (s.a);
             UPDATE s SET b = b * 2 WHERE a = 1;
             SELECT SUM(b) FROM s;"""
    assert query_rows(engine, sql) == [("8",)]
    assert stored_values(engine) == ["1", "2"]
    with pytest.raises(BigQueryError, match=r"Not found: Table p:d\.s"):
        query_rows(engine, "SELECT * FROM s")


def test_a_failed_statement_leaves_the_ones_before(engine: Engine) -> None:
    with pytest.raises(BigQueryError, match="Not found"):
        run_script(engine, "INSERT INTO t VALUES (1); SELECT * FROM nope; INSERT INTO t VALUES (2)")
    assert stored_values(engine) == ["1"]


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("SET x = 1", 400), ("DECLARE x INT64; DECLARE x INT64", 400), ("COMMIT", 400),
        ("IF TRUE THEN SELECT 1", 400), ("BREAK", 400), ("RAISE", 400),
        ("DECLARE x INT64 DEFAULT 'a'", 400), ("ASSERT 1 = 2 AS 'not so'", 400),
        ("CALL d.p()", 501), ("REPEAT SELECT 1; UNTIL TRUE END REPEAT", 501),
        ("BEGIN TRANSACTION; CREATE TABLE z (a INT64); COMMIT", 501),
        ("DECLARE x INT64; EXECUTE IMMEDIATE 'SELECT 1' INTO x", 501),
    ],
)  # fmt: skip
def test_scripts_that_are_wrong_or_not_done_are_rejected(
    engine: Engine, sql: str, status: int
) -> None:
    with pytest.raises(BigQueryError) as raised:
        run_script(engine, sql)
    assert raised.value.status == status
    # Nothing is left open: the next write has its lock and its transaction.
    run_script(engine, "INSERT INTO t VALUES (1)")
    assert stored_values(engine) == ["1"]

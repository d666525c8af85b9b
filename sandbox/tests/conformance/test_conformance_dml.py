from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import ScalarQueryParameter

from conformance.client import Ask, Client, Job, Make

COLUMNS = [("id", "INTEGER", "REQUIRED"), ("org", "STRING"), ("amount", "NUMERIC")]
ROWS = "(1, 'a', 1.5), (2, 'b', 2.5), (3, 'c', 3.5)"


@pytest.fixture
def table(make: Make) -> str:
    return str(make(COLUMNS, ROWS).reference)


def run_dml(client: Client, sql: str, *parameters: object) -> Job:
    config = bigquery.QueryJobConfig(query_parameters=list(parameters))
    job = client.query(sql, job_config=config)
    job.result()
    return job


def test_insert_counts_its_rows(client: Client, table: str) -> None:
    job = run_dml(client, f"INSERT INTO `{table}` (id, org) VALUES (4, 'd'), (5, 'e')")
    assert (job.statement_type, job.num_dml_affected_rows) == ("INSERT", 2)
    assert job.dml_stats.inserted_row_count == 2


def test_insert_from_a_query(client: Client, table: str, ask: Ask) -> None:
    job = run_dml(client, f"INSERT `{table}` (id, org) SELECT id + 10, org FROM `{table}`")
    assert job.num_dml_affected_rows == 3
    assert ask(f"SELECT SUM(id) FROM `{table}`") == [(42,)]


def test_update_counts_its_rows(client: Client, table: str, ask: Ask) -> None:
    org = ScalarQueryParameter("org", "STRING", "a")
    job = run_dml(client, f"UPDATE `{table}` SET amount = amount * 2 WHERE org = @org", org)
    assert (job.statement_type, job.num_dml_affected_rows) == ("UPDATE", 1)
    assert job.dml_stats.updated_row_count == 1
    assert ask(f"SELECT amount FROM `{table}` WHERE id = 1") == [(Decimal(3),)]


def test_update_from_another_table(client: Client, table: str, ask: Ask) -> None:
    run_dml(
        client,
        f"UPDATE `{table}` t SET org = s.org FROM (SELECT 2 AS id, 'z' AS org) s WHERE t.id = s.id",
    )
    assert ask(f"SELECT org FROM `{table}` ORDER BY id") == [("a",), ("z",), ("c",)]


def test_delete_counts_its_rows(client: Client, table: str) -> None:
    job = run_dml(client, f"DELETE FROM `{table}` WHERE id > 1")
    assert (job.statement_type, job.num_dml_affected_rows) == ("DELETE", 2)
    assert job.dml_stats.deleted_row_count == 2


@pytest.mark.parametrize("statement", ["UPDATE `{}` SET org = 'x'", "DELETE FROM `{}`"])
def test_a_mutation_without_where_is_rejected(
    client: Client, table: str, ask: Ask, statement: str
) -> None:
    with pytest.raises(exceptions.BadRequest):
        run_dml(client, statement.format(table))
    assert ask(f"SELECT COUNT(*) FROM `{table}` WHERE org <> 'x'") == [(3,)]


def test_merge_does_all_three(client: Client, table: str, ask: Ask) -> None:
    job = run_dml(
        client,
        f"""
        MERGE INTO `{table}` AS t
        USING (SELECT * FROM UNNEST([STRUCT(1 AS id, 'A' AS org), (4, 'D')])) AS s
        ON t.id = s.id
        WHEN MATCHED AND t.org = 'a' THEN UPDATE SET org = s.org
        WHEN NOT MATCHED BY TARGET THEN INSERT (id, org) VALUES (s.id, s.org)
        WHEN NOT MATCHED BY SOURCE AND t.id = 3 THEN DELETE
    """,
    )
    assert (job.statement_type, job.num_dml_affected_rows) == ("MERGE", 3)
    stats = job.dml_stats
    counts = (stats.inserted_row_count, stats.updated_row_count, stats.deleted_row_count)
    assert counts == (1, 1, 1)
    assert ask(f"SELECT id, org FROM `{table}` ORDER BY id") == [(1, "A"), (2, "b"), (4, "D")]


def test_merge_twice_changes_nothing_more(client: Client, table: str, ask: Ask) -> None:
    sql = f"""
        MERGE `{table}` t USING (SELECT 9 AS id, @org AS org) s ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET org = s.org
        WHEN NOT MATCHED THEN INSERT (id, org) VALUES (id, org)
    """
    for _ in range(2):
        run_dml(client, sql, ScalarQueryParameter("org", "STRING", "n"))
    assert ask(f"SELECT org FROM `{table}` WHERE id = 9") == [("n",)]


def test_merge_rejects_two_sources_for_one_row(client: Client, table: str) -> None:
    with pytest.raises(exceptions.BadRequest):
        run_dml(
            client,
            f"MERGE `{table}` t USING (SELECT 1 AS id FROM UNNEST([1, 2])) s"
            " ON t.id = s.id WHEN MATCHED THEN UPDATE SET org = 'x'",
        )


def test_null_in_a_required_column_is_rejected(client: Client, table: str, ask: Ask) -> None:
    for sql in (
        f"INSERT INTO `{table}` (org) VALUES ('x')",
        f"INSERT INTO `{table}` VALUES (NULL, 'x', 1)",
        f"UPDATE `{table}` SET id = NULL WHERE id = 1",
    ):
        with pytest.raises(exceptions.BadRequest):
            run_dml(client, sql)
    assert ask(f"SELECT COUNT(id) FROM `{table}`") == [(3,)]


def test_a_wrong_type_is_rejected(client: Client, table: str) -> None:
    with pytest.raises(exceptions.BadRequest):
        run_dml(client, f"INSERT INTO `{table}` VALUES (1, 2, 3)")


def test_a_script_keeps_parameters_and_variables(client: Client, table: str) -> None:
    job = client.query(
        f"""
        DECLARE total NUMERIC DEFAULT 0;
        SET total = (SELECT SUM(amount) FROM `{table}` WHERE org <> @org);
        IF total > 5 THEN
          SELECT total AS total, @org AS org;
        ELSE
          SELECT NUMERIC '0' AS total, 'less' AS org;
        END IF;
        """,
        job_config=bigquery.QueryJobConfig(
            query_parameters=[ScalarQueryParameter("org", "STRING", "a")]
        ),
    )
    assert [tuple(row.values()) for row in job.result()] == [(Decimal(6), "a")]
    found = client.get_job(job.job_id)
    assert found.statement_type == "SCRIPT"
    assert found.num_child_jobs >= 1
    children = list(client.list_jobs(parent_job=job.job_id))
    assert len(children) == found.num_child_jobs
    assert {child.parent_job_id for child in children} == {job.job_id}


def test_a_transaction_commits_whole(client: Client, table: str, ask: Ask) -> None:
    run_dml(
        client,
        f"""
        BEGIN TRANSACTION;
        INSERT INTO `{table}` (id, org) VALUES (4, 'd');
        UPDATE `{table}` SET org = 'x' WHERE id = 1;
        COMMIT TRANSACTION;
    """,
    )
    assert ask(f"SELECT org FROM `{table}` ORDER BY id") == [("x",), ("b",), ("c",), ("d",)]


def test_a_transaction_rolls_back(client: Client, table: str, ask: Ask) -> None:
    run_dml(
        client,
        f"""
        BEGIN TRANSACTION;
        DELETE FROM `{table}` WHERE TRUE;
        ROLLBACK TRANSACTION;
    """,
    )
    assert ask(f"SELECT COUNT(*) FROM `{table}`") == [(3,)]


def test_a_failed_transaction_leaves_nothing(client: Client, table: str, ask: Ask) -> None:
    with pytest.raises(exceptions.BadRequest):
        run_dml(
            client,
            f"""
            BEGIN TRANSACTION;
            DELETE FROM `{table}` WHERE TRUE;
            SELECT 1/0;
            COMMIT TRANSACTION;
        """,
        )
    assert ask(f"SELECT COUNT(*) FROM `{table}`") == [(3,)]


def test_tables_are_made_changed_and_dropped_by_statements(
    client: Client, name: str, ask: Ask
) -> None:
    job = run_dml(
        client,
        f"""
        CREATE TABLE `{name}` (day DATE NOT NULL OPTIONS(description='the day'), n INT64)
        PARTITION BY day CLUSTER BY n OPTIONS(description='made by SQL')
    """,
    )
    assert (job.statement_type, job.ddl_operation_performed) == ("CREATE_TABLE", "CREATE")
    table = client.get_table(name)
    assert (table.description, table.schema[0].mode) == ("made by SQL", "REQUIRED")
    assert table.schema[0].description == "the day"
    assert table.time_partitioning.field == "day"
    run_dml(client, f"CREATE TABLE IF NOT EXISTS `{name}` (x INT64)")
    run_dml(client, f"ALTER TABLE `{name}` ADD COLUMN IF NOT EXISTS s STRING")
    assert [field.name for field in client.get_table(name).schema] == ["day", "n", "s"]
    run_dml(client, f"DROP TABLE `{name}`")
    with pytest.raises(exceptions.NotFound):
        client.get_table(name)
    run_dml(client, f"DROP TABLE IF EXISTS `{name}`")


def test_a_table_is_made_from_a_query(client: Client, name: str, ask: Ask) -> None:
    job = run_dml(
        client, f"CREATE OR REPLACE TABLE `{name}` AS SELECT 1 AS a, DATE '2025-11-25' AS d"
    )
    assert job.statement_type == "CREATE_TABLE_AS_SELECT"
    assert ask(f"SELECT a, d FROM `{name}`") == [(1, dt.date(2025, 11, 25))]


def test_a_view_is_made_by_a_statement(client: Client, name: str, ask: Ask) -> None:
    run_dml(client, f"CREATE OR REPLACE VIEW `{name}` AS SELECT 1 AS a")
    assert client.get_table(name).table_type == "VIEW"
    assert ask(f"SELECT a FROM `{name}`") == [(1,)]


def test_truncate_table(client: Client, table: str, ask: Ask) -> None:
    run_dml(client, f"TRUNCATE TABLE `{table}`")
    assert ask(f"SELECT COUNT(*) FROM `{table}`") == [(0,)]

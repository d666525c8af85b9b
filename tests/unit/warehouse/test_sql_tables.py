"""A statement names only tables of the datasets that its caller filled in."""

from __future__ import annotations

import pytest

from convergence.warehouse.sql.table_rules import TableRule, find_sql_violations

RULE = TableRule.for_identifiers(
    {
        "project": "our-project",
        "dataset": "globex_dev",
        "central": "organizations",
        "table": "acme_corp_dev",
        "columns": ["acme_corp_dev"],
    }
)

FOREIGN = [
    "SELECT * FROM acme_corp_dev.openai_cost_daily",
    "SELECT * FROM `acme_corp_dev.openai_cost_daily`",
    "SELECT * FROM `acme_corp_dev`.openai_cost_daily",
    "SELECT * FROM `acme_corp_dev`.`openai_cost_daily`",
    "SELECT * FROM acme_corp_dev . openai_cost_daily",
    "SELECT * FROM acme_corp_dev/* */./* */openai_cost_daily",
    "SELECT * FROM our-project.acme_corp_dev.openai_cost_daily",
    "SELECT * FROM other-project-7.globex_dev.openai_cost_daily",
    "SELECT * FROM `our-project`.acme_corp_dev.openai_cost_daily",
    "SELECT * FROM `our-project.acme_corp_dev`.openai_cost_daily",
    "SELECT * FROM `our-project.acme_corp_dev.openai_cost_*`",
    "SELECT * FROM globex_dev.t.openai_cost_daily",  # globex_dev is a project here
    "SELECT * FROM (acme_corp_dev.t JOIN globex_dev.t USING (x))",
    "SELECT * FROM (SELECT * FROM acme_corp_dev.t)",
    "SELECT * FROM globex_dev.a, acme_corp_dev.t",
    "SELECT * FROM globex_dev.a AS acme_corp_dev, acme_corp_dev.t",
    "SELECT * FROM globex_dev.a JOIN globex_dev.b ON CASE WHEN a.x THEN b.y END, acme_corp_dev.t",
    "SELECT * FROM globex_dev.a FOR SYSTEM_TIME AS OF @at, acme_corp_dev.t",
    "SELECT * FROM globex_dev.a LEFT JOIN acme_corp_dev.t USING (x)",
    "SELECT * FROM globex_dev.a CROSS JOIN UNNEST(a.items) AS i, acme_corp_dev.t",
    "SELECT (SELECT MAX(x) FROM acme_corp_dev.t) FROM globex_dev.a",
    "SELECT * FROM globex_dev.a WHERE x IN (SELECT x FROM acme_corp_dev.t)",
    "WITH acme AS (SELECT * FROM acme_corp_dev.t) SELECT * FROM acme",
    "SELECT 1 UNION ALL SELECT x FROM acme_corp_dev.t",
    "SELECT 1; SELECT x FROM acme_corp_dev.t",
    "SELECT * FROM acme_corp_dev.INFORMATION_SCHEMA.COLUMNS",
    "SELECT * FROM `our-project.acme_corp_dev.INFORMATION_SCHEMA.PARTITIONS`",
    "SELECT * FROM `region-eu`.INFORMATION_SCHEMA.JOBS",
    "SELECT * FROM `our-project.region-eu.INFORMATION_SCHEMA.JOBS`",
    "SELECT * FROM acme_corp_dev.rows_of(1)",
    "SELECT acme_corp_dev.shown(x) FROM globex_dev.a",
    "SELECT `our-project.acme_corp_dev.shown`(x) FROM globex_dev.a",
    "SELECT * FROM ML.PREDICT(MODEL acme_corp_dev.m, TABLE globex_dev.a)",
    "SELECT * FROM APPENDS(TABLE acme_corp_dev.t, NULL, NULL)",
    "SELECT * FROM EXTERNAL_QUERY('eu.connection', 'SELECT 1')",
    "INSERT INTO acme_corp_dev.t (x) VALUES (1)",
    "INSERT acme_corp_dev.t (x) SELECT 1",
    "UPDATE acme_corp_dev.t SET x = 1 WHERE TRUE",
    "UPDATE globex_dev.t SET x = 1 FROM acme_corp_dev.t AS o WHERE o.y = t.y",
    "DELETE acme_corp_dev.t WHERE TRUE",
    "DELETE FROM acme_corp_dev.t WHERE TRUE",
    "MERGE acme_corp_dev.t AS t USING globex_dev.a AS a ON t.x = a.x WHEN MATCHED THEN DELETE",
    "MERGE globex_dev.a AS a USING acme_corp_dev.t AS t ON t.x = a.x WHEN MATCHED THEN DELETE",
    "MERGE INTO globex_dev.a USING (SELECT * FROM acme_corp_dev.t) ON x WHEN MATCHED THEN DELETE",
    "SELECT EXTRACT(DAY FROM (SELECT MAX(d) FROM acme_corp_dev.t))",
    "SELECT x IS DISTINCT FROM (SELECT MAX(d) FROM acme_corp_dev.t)",
    "BEGIN SELECT * FROM acme_corp_dev.t; END",
    "DECLARE x INT64 DEFAULT (SELECT MAX(x) FROM acme_corp_dev.t); SELECT x",
    # Built or hidden.
    "EXECUTE IMMEDIATE 'SELECT * FROM acme_corp_dev.t'",
    "BEGIN EXECUTE IMMEDIATE CONCAT('SELECT * FROM acme', '_corp_dev.t'); END",
    "SET @@dataset_id = 'acme_corp_dev'; SELECT * FROM openai_cost_daily",
    "CREATE TABLE globex_dev.copy AS SELECT 1 AS x",
    "CREATE VIEW globex_dev.v AS SELECT * FROM acme_corp_dev.t",
    "DROP TABLE acme_corp_dev.t",
    "TRUNCATE TABLE acme_corp_dev.t",
    "ALTER TABLE acme_corp_dev.t ADD COLUMN x INT64",
    "CALL acme_corp_dev.proc()",
    "EXPORT DATA OPTIONS (uri = 'gs://x/*') AS SELECT 1",
    "LOAD DATA INTO globex_dev.t FROM FILES (uris = ['gs://x'])",
    "GRANT `roles/viewer` ON TABLE globex_dev.t TO 'user:x'",
    "FROM acme_corp_dev.t |> SELECT x",
    "SELECT 'it does not end FROM acme_corp_dev.t",
    "SELECT 1 /* it does not end",
    "SELECT `it does not end",
]

OWN = [
    "SELECT * FROM `our-project.globex_dev.openai_cost_daily`",
    "SELECT * FROM `our-project`.globex_dev.`openai_cost_daily`",
    "SELECT * FROM our-project.globex_dev.openai_cost_daily AS cost",
    "SELECT * FROM globex_dev.openai_cost_daily",
    "SELECT * FROM `our-project.organizations.org_profiles`",
    "SELECT * FROM `our-project.globex_dev.INFORMATION_SCHEMA.PARTITIONS`",
    "SELECT * FROM globex_dev.INFORMATION_SCHEMA.TABLES",
    "SELECT * FROM `our-project.globex_dev.openai_*` WHERE _TABLE_SUFFIX = 'cost_daily'",
    "-- acme_corp_dev.t\nSELECT 1 -- FROM acme_corp_dev.t\n# FROM acme_corp_dev.t",
    "SELECT 'FROM acme_corp_dev.t', \"FROM acme_corp_dev.t\", '''FROM\nacme_corp_dev.t'''",
    r"SELECT 'it\'s FROM acme_corp_dev.t', r'\' FROM acme_corp_dev.t'",
    "SELECT /* FROM acme_corp_dev.t */ 1",
    "WITH acme AS (SELECT 1 AS x) SELECT acme.x, acme.x.y FROM acme, UNNEST(acme.xs) AS x",
    "SELECT cost.model.name FROM globex_dev.t AS cost LEFT JOIN UNNEST(cost.items) AS i ON i.x",
    "SELECT EXTRACT(DAY FROM t.day), t.x IS NOT DISTINCT FROM t.y FROM globex_dev.t AS t",
    "SELECT SAFE.PARSE_DATE('%Y', t.x), NET.HOST(t.u) FROM globex_dev.t AS t",
    "SELECT * EXCEPT (x), t.* FROM globex_dev.t AS t WHERE t.x LIKE t.y ORDER BY t.x, t.y LIMIT 5",
    "SELECT model = t.model, table = t.table FROM globex_dev.t AS t GROUP BY t.model, t.x",
    "MERGE globex_dev.t AS t USING (SELECT 1 AS x) AS s ON t.x = s.x WHEN MATCHED THEN DELETE",
    "MERGE globex_dev.t USING s ON t.x = s.x WHEN MATCHED THEN UPDATE SET t.x = s.x, t.y = s.y",
    "MERGE globex_dev.t USING s ON t.x = s.x WHEN NOT MATCHED THEN INSERT (x, y) VALUES (s.x, s.y)",
    "UPDATE globex_dev.t SET x = t.y, y = t.z WHERE t.x = 1",
    "BEGIN TRANSACTION; DELETE FROM globex_dev.t WHERE t.x = 1; COMMIT TRANSACTION;",
    "((SELECT 1) UNION ALL (SELECT 2))",
    "SELECT 1.5, .5, 1e3, t.x[OFFSET(0)].y FROM globex_dev.t AS t",
]


@pytest.mark.parametrize("sql", FOREIGN)
def test_a_table_of_another_dataset_is_found(sql: str) -> None:
    assert find_sql_violations(sql, RULE)


@pytest.mark.parametrize("sql", OWN)
def test_an_own_table_a_comment_and_a_text_are_no_violation(sql: str) -> None:
    assert find_sql_violations(sql, RULE) == ()


def test_a_violation_names_the_table_its_place_and_the_way_out() -> None:
    (found,) = find_sql_violations("SELECT 1,\n  x\nFROM acme_corp_dev.openai_cost_daily", RULE)
    assert found.position == 19
    assert found.message == (
        "the table acme_corp_dev.openai_cost_daily does not come from a placeholder; write "
        "`{{ project }}.{{ dataset }}.openai_cost_daily`, or UNNEST(…) for an array"
    )


def test_a_project_of_a_domain_is_one_name() -> None:
    rule = TableRule(frozenset({"example.com:ours"}), frozenset({"globex_dev"}))
    assert find_sql_violations("SELECT * FROM `example.com:ours.globex_dev.t`", rule) == ()
    assert find_sql_violations("SELECT * FROM `example.com:ours.acme_corp_dev.t`", rule)

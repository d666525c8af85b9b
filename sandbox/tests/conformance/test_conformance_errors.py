"""Error responses: each has a message, and none is a 500."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions

from conformance.client import Ask, Client

BAD = [
    ("SELEKT 1", exceptions.BadRequest, "invalidQuery"),
    ("SELECT 1/0", exceptions.BadRequest, "invalidQuery"),
    ("SELECT nothing FROM UNNEST([1]) AS x", exceptions.BadRequest, "invalidQuery"),
    ("SELECT 1 + 'x'", exceptions.BadRequest, "invalidQuery"),
    (
        "SELECT a, COUNT(*) FROM (SELECT 1 AS a, 2 AS b) GROUP BY b",
        exceptions.BadRequest,
        "invalidQuery",
    ),
    ("SELECT a FROM (SELECT 1 AS a) x, (SELECT 2 AS a) y", exceptions.BadRequest, "invalidQuery"),
    ("SELECT * FROM {dataset}.no_such_table", exceptions.NotFound, "notFound"),
    ("SELECT * FROM no_such_dataset_1.t", exceptions.NotFound, "notFound"),
    ("DELETE FROM {dataset}.no_such_table WHERE TRUE", exceptions.NotFound, "notFound"),
]


@pytest.mark.parametrize("bad", BAD, ids=[sql for sql, _, _ in BAD])
@pytest.mark.parametrize("way", ["query_and_wait", "jobs.query", "jobs.insert"])
def test_a_bad_query_raises_whichever_way_it_is_run(
    client: Client, dataset: str, bad: tuple[str, type[Exception], str], way: str
) -> None:
    template, error, reason = bad
    sql = template.format(dataset=dataset.rpartition(".")[2])

    def run() -> Any:
        if way == "query_and_wait":
            return list(client.query_and_wait(sql))
        method = "QUERY" if way == "jobs.query" else "INSERT"
        return list(client.query(sql, api_method=method).result())

    with pytest.raises(error) as caught:
        run()
    assert isinstance(caught.value, exceptions.GoogleAPICallError)
    assert caught.value.errors[0]["reason"] == reason


def test_an_unknown_function_is_rejected(ask: Ask) -> None:
    # The sandbox can't distinguish a function that BigQuery lacks from one that it lacks itself.
    with pytest.raises((exceptions.BadRequest, exceptions.MethodNotImplemented), match="NO_SUCH"):
        ask("SELECT NO_SUCH_FUNCTION(1)")


def test_an_empty_query_is_400(ask: Ask) -> None:
    with pytest.raises(exceptions.BadRequest):
        ask("   ")


def test_a_missing_table_is_named(ask: Ask, dataset: str) -> None:
    with pytest.raises(exceptions.NotFound, match="no_such_table"):
        ask(f"SELECT 1 FROM `{dataset}.no_such_table`")

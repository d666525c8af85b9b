"""A cost follows from the usage and prices that it was hashed from, whatever dies in between."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import InputNotAsRecordedError
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import CostConfig
from convergence.runs.ledger import Action
from convergence.runs.slices import SliceInput
from support.cost_books import COST, DAY, USAGE, Books, KilledError, money, new_run, usage_rows
from support.processor_env import OrgEnv


@pytest.fixture
def books(org: OrgEnv, tmp_path: Path) -> Books:
    return Books(org, tmp_path)


A, B = 163_000, 249_254


def test_a_kill_a_price_change_and_earlier_figures_leave_no_wrong_cost(books: Books) -> None:
    books.put_price("1000")
    books.extract(usage_rows(A))
    books.price()
    assert books.cost == money(A, "1000")
    books.extract(usage_rows(B), killed=True)
    books.put_price("1530")
    books.price()
    assert books.cost == money(B, "1530") == Decimal("381.35862")
    assert books.row(COST).inputs[0] == SliceInput(USAGE, books.row(USAGE).content_hash)
    books.extract(usage_rows(A))
    books.price()
    assert books.cost == money(A, "1530") == Decimal("249.39")


def test_a_dead_runs_missing_row_is_written_from_its_job(books: Books) -> None:
    books.put_price("1")
    books.extract(usage_rows(A))
    first = books.row(USAGE)
    run_id = new_run()
    books.extract(usage_rows(B), killed=True, run_id=run_id)
    assert books.row(USAGE) == first
    books.price()
    found = books.row(USAGE)
    assert (found.action, found.attempt, found.run_id) == (Action.PUBLISHED, 2, run_id)
    job = books.org.env.warehouse.client.get_job(found.job_id, location="US")
    assert (found.job_ended_at, found.row_count) == (job.ended, 1)
    books.extract(usage_rows(B))
    again = books.row(USAGE)
    assert (again.action, again.content_hash) == (Action.UNCHANGED, found.content_hash)


def test_the_first_days_missing_row_is_written_too(books: Books) -> None:
    books.put_price("1")
    books.extract(usage_rows(A), killed=True)
    books.price()
    assert books.cost == money(A, "1")


def test_usage_that_no_job_of_ours_wrote_is_not_priced_and_must_be_extracted_again(
    books: Books,
) -> None:
    books.put_price("1")
    books.extract(usage_rows(A))
    books.price()
    books.org.env.ask(  # as many rows as before
        f"UPDATE {books.org.table(USAGE)} SET input_tokens = {B}, input_uncached_tokens = {B}"
        f" WHERE usage_date = '{DAY}'"
    )
    books.put_price("2")
    with pytest.raises(InputNotAsRecordedError, match="2026-11-17"):
        books.price()
    assert books.cost == money(A, "1")
    assert books.row(USAGE).action is Action.INVALIDATED
    with pytest.raises(InputNotAsRecordedError):
        books.price()
    books.extract(usage_rows(A))
    assert books.row(USAGE).action is Action.PUBLISHED
    books.price()
    assert books.cost == money(A, "2")


def test_an_older_attempt_that_ends_late_is_not_priced(books: Books) -> None:
    books.put_price("1")
    services = books.org.env.services
    (older,) = services.publisher.begin_attempts([books.key(USAGE)]).values()
    books.extract(usage_rows(B))
    books.end_late(older, usage_rows(A))
    with pytest.raises(InputNotAsRecordedError):
        books.price()
    env = books.org.env
    rows = env.ask(
        f"SELECT attempt FROM `{env.warehouse.project}.organizations.org_meta_slices`"
        f" WHERE checked_at >= '2020-01-01' AND org_slug = '{books.org.slug}'"
        f" AND table_name = '{USAGE}'"
    )
    assert {row["attempt"] for row in rows} == {2}
    books.extract(usage_rows(B))
    books.price()
    assert books.cost == money(B, "1")


def test_equal_inputs_are_done_and_earlier_ones_are_published_again(books: Books) -> None:
    books.put_price("1")
    jobs = []
    for tokens in (A, B, A):
        books.extract(usage_rows(tokens))
        books.price()
        assert (books.cost, books.row(COST).action) == (money(tokens, "1"), Action.PUBLISHED)
        jobs.append(books.row(COST).job_id)
    for price in ("2", "1"):
        books.put_price(price)
        books.price()
        assert (books.cost, books.row(COST).action) == (money(A, price), Action.PUBLISHED)
        jobs.append(books.row(COST).job_id)
    books.price()
    assert books.row(COST).action is Action.UNCHANGED
    assert books.jobs() == len(set(jobs)) == 5


def test_a_cleared_task_computes_what_has_changed_since(books: Books) -> None:
    run_id = new_run()
    books.put_price("1")
    books.extract(usage_rows(A), run_id=run_id)
    books.price(run_id=run_id)
    books.put_price("2")
    books.price(run_id=run_id, attempt=2)
    assert books.cost == money(A, "2")
    books.extract(usage_rows(B))
    books.price(run_id=run_id, attempt=3)
    assert books.cost == money(B, "2")
    books.price(run_id=run_id, attempt=4)
    assert books.row(COST).action is Action.UNCHANGED
    assert books.jobs() == 3


@pytest.mark.parametrize("what", ["usage", "price"])
def test_what_changes_between_the_look_and_the_job_is_priced_again(books: Books, what: str) -> None:
    books.put_price("1")
    books.extract(usage_rows(A))

    def change() -> None:
        if what == "usage":
            books.extract(usage_rows(B))
        else:
            books.put_price("2")

    books.price(before_job=change)
    assert books.cost == (money(B, "1") if what == "usage" else money(A, "2"))
    assert books.row(COST).inputs[0].content_hash == books.row(USAGE).content_hash
    books.price()
    assert books.row(COST).action is Action.UNCHANGED


def test_a_job_that_read_other_usage_is_not_taken_by_the_next_try(books: Books) -> None:
    run_id = new_run()
    books.put_price("1")
    books.extract(usage_rows(A))
    with pytest.raises(KilledError):
        books.price(run_id=run_id, before_job=lambda: books.extract(usage_rows(B)), killed=True)
    assert books.cost == money(B, "1")
    books.extract(usage_rows(A))
    books.price(run_id=run_id, attempt=2)
    assert books.cost == money(A, "1")


def test_a_day_whose_usage_is_lost_leaves_the_others_to_be_priced(books: Books) -> None:
    books.put_price("1")
    books.extract(usage_rows(A))
    with pytest.raises(InputNotAsRecordedError):
        price_usage(books.org.context([DAY, DAY + timedelta(days=1)]), CostConfig())
    assert books.cost == money(A, "1")

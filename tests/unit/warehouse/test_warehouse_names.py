from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ConfigurationError
from convergence.warehouse.names import (
    TableName,
    central_table,
    check_identifier,
    check_project,
    job_base,
    label_value,
    labels,
    partition_id,
)


@given(st.text())
def test_every_label_is_legal(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", label_value(text))


def test_long_labels_that_differ_at_the_end_stay_different() -> None:
    assert label_value("x" * 80 + "a") != label_value("x" * 80 + "b")
    assert label_value("acme_corp") == "acme_corp"
    assert labels({"org": "Acme", "run": ""}) == {"org": "acme"}


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_every_job_id_is_legal(parts: list[str]) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,1000}", job_base("publish", *parts))


@given(
    st.lists(st.text(alphabet="ab-|_", max_size=4), max_size=5),
    st.lists(st.text(alphabet="ab-|_", max_size=4), max_size=5),
)
def test_two_contents_never_share_a_job_id(one: list[str], other: list[str]) -> None:
    assert (job_base("publish", *one) == job_base("publish", *other)) == (one == other)


@pytest.mark.parametrize(
    "name", ["", "a b", "a-b", "a.b", "a`; DROP TABLE x", "a\n", "ä", "a" * 301, "t$20251125"]
)
def test_what_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_identifier(name)
    with pytest.raises(ConfigurationError):
        TableName("organizations", name)


@pytest.mark.parametrize("name", ["local-dev-project", "example.com:my-project", "p12345"])
def test_projects(name: str) -> None:
    assert check_project(name) == name


@pytest.mark.parametrize("name", ["", "Project", "a`b-cdef", "project-", "project\n"])
def test_what_is_no_project_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_project(name)


def test_small_names() -> None:
    assert partition_id(date(2025, 1, 5)) == "20250105"
    assert str(central_table("org_profiles")) == "organizations.org_profiles"
    assert str(TableName("3com_dev", "usage")) == "3com_dev.usage"

"""What schemathesis asks of the OpenAPI document: a short round here, ten minutes by `fuzz.py`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.api.fuzz import run_schemathesis
from support.api.served import Served, served

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Served]:
    logging.disable(logging.INFO)
    with served(tmp_path) as app:
        yield app
    logging.disable(logging.NOTSET)


def test_no_request_of_a_short_round_finds_a_fault(app: Served, tmp_path: Path) -> None:
    options = ("--generation-deterministic", "--phases=examples,coverage")
    told = run_schemathesis(app, tmp_path, *options, quietly=True)
    assert told.returncode == 0, told.stdout[-8000:]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_request_of_ten_minutes_finds_a_fault(app: Served, tmp_path: Path) -> None:
    told = run_schemathesis(app, tmp_path, "--max-time=600", quietly=True)
    assert told.returncode == 0, told.stdout[-8000:]

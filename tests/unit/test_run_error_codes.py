"""The codes of run errors: complete, and readable when another release wrote them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from convergence import errors
from convergence.api.runs.models import RunErrorInfo
from convergence.errors import ConvergenceError
from convergence.run_error_codes import RunErrorCode

PRODUCT = Path(__file__).resolve().parents[2] / "plugins" / "convergence"
# Raised by the API before a run exists, or about Airflow itself.
NEVER_OF_A_RUN = {
    "forbidden",
    "idempotency_key_reused",
    "no_task_began",
    "not_authenticated",
    "operation_failed",
}


def subclasses(base: type[ConvergenceError]) -> Iterator[type[ConvergenceError]]:
    yield base
    for each in base.__subclasses__():
        yield from subclasses(each)


def test_every_error_class_is_a_code_of_runs_or_never_of_one() -> None:
    codes = {
        each.code for each in subclasses(ConvergenceError) if each.__module__ == errors.__name__
    }
    assert codes - set(RunErrorCode) == NEVER_OF_A_RUN


def test_no_run_error_has_a_literal_code() -> None:
    literals = [
        f"{path.name}:{node.lineno}"
        for path in PRODUCT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "RunError"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    assert literals == [], "use RunErrorCode"


def test_a_code_of_another_release_is_returned_as_it_is_stored() -> None:
    assert RunErrorInfo(code="from_the_future", message="?").code == "from_the_future"

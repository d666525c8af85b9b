"""Registers Python's functions and the macros with a database just opened.

DuckDB calls a Python function with a batch of rows; NULL in any argument gives NULL. Every one
that can fail has a `safe_` twin that gives NULL instead.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL

from convergence_sandbox.bigquery.sql.functions.kernels import KERNELS, NUMERIC

_MACROS = Path(__file__).with_name("macros.sql")
_TYPES = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
    NUMERIC: pa.decimal128(38, 9),
}


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Register every function and macro."""
    for name, (function, takes, gives) in KERNELS.items():
        for safe in (False, True):
            connection.create_function(
                f"safe_{name}" if safe else name,
                _batched(function, _TYPES[gives], len(takes), safe=safe),
                list(takes),
                gives,
                type=ARROW,
                null_handling=SPECIAL,
            )
    for statement in _big_macros():
        connection.execute(statement)
    connection.execute(_MACROS.read_text())


def _big_macros() -> list[str]:
    """Macros that carry BIGNUM through text into the Python functions and back."""
    heads: dict[str, str] = {}
    for safe in ("", "safe_"):
        for name in ("mul", "div", "mod", "divint", "add", "sub"):
            # The plain sum and difference are DuckDB's own, in macros.sql.
            if safe or name not in {"add", "sub"}:
                call = f"{safe}udf_big_{name}(CAST(a AS VARCHAR), CAST(b AS VARCHAR))"
                heads[f"{safe}big_{name}(a, b)"] = f"CAST({call} AS BIGNUM)"
        for name in ("float", "int", "numeric"):
            heads[f"{safe}big_to_{name}(x)"] = f"{safe}udf_big_to_{name}(CAST(x AS VARCHAR))"
        for name in ("float", "text"):
            heads[f"{safe}{name}_to_big(x)"] = f"CAST({safe}udf_{name}_to_big(x) AS BIGNUM)"
    for name in ("round", "trunc"):
        heads[f"big_{name}(x, n)"] = f"CAST(udf_big_{name}(CAST(x AS VARCHAR), n) AS BIGNUM)"
    for name in ("ceil", "floor", "sign"):
        heads[f"big_{name}(x)"] = f"CAST(udf_big_{name}(CAST(x AS VARCHAR)) AS BIGNUM)"
    return [f"CREATE OR REPLACE MACRO {head} AS {body}" for head, body in heads.items()]


def _batched(
    function: Callable[..., Any], kind: pa.DataType, arity: int, *, safe: bool
) -> Callable[..., pa.Array]:
    def one_row(*row: Any) -> Any:  # noqa: ANN401  # any column type
        if None in row:
            return None
        if not safe:
            return function(*row)
        try:
            return function(*row)
        except ValueError:
            return None

    def batch(*columns: pa.ChunkedArray) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([one_row(*row) for row in rows], type=kind)

    return _WITH_ARITY[arity](batch)


# DuckDB counts a function's declared parameters, so each arity needs a declaration.
_Batch = Callable[..., pa.Array]
_WITH_ARITY: dict[int, Callable[[_Batch], _Batch]] = {
    1: lambda batch: lambda a: batch(a),  # noqa: PLW0108
    2: lambda batch: lambda a, b: batch(a, b),  # noqa: PLW0108
    3: lambda batch: lambda a, b, c: batch(a, b, c),  # noqa: PLW0108
    4: lambda batch: lambda a, b, c, d: batch(a, b, c, d),  # noqa: PLW0108
}

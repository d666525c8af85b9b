"""NUMERIC and BIGNUMERIC against Python's decimal: every result exact, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError

EXACT = Context(prec=300, rounding=ROUND_HALF_UP)
FEW = settings(max_examples=25)
NUMERIC_MAX = Decimal("99999999999999999999999999999.999999999")
BIGNUMERIC_MAX = EXACT.divide(Decimal(2**255 - 1), Decimal(10) ** 38)

numerics = st.one_of(
    st.decimals(min_value=-(10**6), max_value=10**6, places=9),
    st.decimals(min_value=-(10**28), max_value=10**28, places=9),
    st.integers(min_value=-(10**12), max_value=10**12).map(Decimal),
)
bignumerics = st.integers(min_value=-(10**50), max_value=10**50).map(
    lambda unscaled: EXACT.divide(Decimal(unscaled), Decimal(10) ** 38)
)
integers = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(None)
    yield made
    made.close()


def evaluate(engine: Engine, expression: str, **values: tuple[str, object]) -> Decimal | None:
    """The expression over columns (not literals, which are folded) of these types and values."""
    columns = ", ".join(
        f"CAST('{value:f}' AS {kind}) AS {name}"
        if isinstance(value, Decimal)
        else f"CAST('{value}' AS {kind}) AS {name}"
        for name, (kind, value) in values.items()
    )
    sql = f"SELECT {expression} FROM UNNEST([STRUCT({columns})])"
    wire = engine.query(sql, project="p").rows()[0]["f"][0]["v"]
    return None if wire is None else Decimal(wire)


def rounded(value: Decimal, scale: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-scale), context=EXACT)


def agrees(engine: Engine, sql: str, expected: Decimal, limit: Decimal, **values: object) -> None:
    """The expression equals `expected`, or overflows exactly when that is beyond the limit."""
    if expected.copy_abs() > limit:
        with pytest.raises(BigQueryError, match=r"(?i)overflow|Invalid") as raised:
            evaluate(engine, sql, **values)  # type: ignore[arg-type]  # name: (type, value) pairs
        assert raised.value.status == 400
        return
    assert evaluate(engine, sql, **values) == expected  # type: ignore[arg-type]  # as above


OPERATIONS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": EXACT.add,
    "-": EXACT.subtract,
    "*": EXACT.multiply,
    "/": EXACT.divide,
}


@pytest.mark.parametrize("sign", OPERATIONS)
@FEW
@given(left=numerics, right=numerics)
@example(left=Decimal("0.000000001"), right=Decimal("0.5"))
@example(left=Decimal("-0.000000001"), right=Decimal("0.5"))
@example(left=Decimal(1), right=Decimal(3))
@example(left=Decimal(-2), right=Decimal(3))
@example(left=NUMERIC_MAX, right=NUMERIC_MAX)
@example(left=NUMERIC_MAX, right=Decimal("0.1"))
@example(left=NUMERIC_MAX, right=Decimal(7))
def test_numeric_arithmetic_is_exact(
    engine: Engine, sign: str, left: Decimal, right: Decimal
) -> None:
    values = {"a": ("NUMERIC", left), "b": ("NUMERIC", right)}
    if sign == "/" and right == 0:
        with pytest.raises(BigQueryError, match="division by zero"):
            evaluate(engine, "a / b", **values)
        assert evaluate(engine, "SAFE_DIVIDE(a, b)", **values) is None
        return
    expected = rounded(OPERATIONS[sign](left, right), 9)
    agrees(engine, f"a {sign} b", expected, NUMERIC_MAX, **values)


@FEW
@given(left=numerics, right=numerics)
def test_safe_arithmetic_gives_null_where_the_operator_fails(
    engine: Engine, left: Decimal, right: Decimal
) -> None:
    values = {"a": ("NUMERIC", left), "b": ("NUMERIC", right)}
    names = {"+": "SAFE_ADD", "-": "SAFE_SUBTRACT", "*": "SAFE_MULTIPLY", "/": "SAFE_DIVIDE"}
    for sign, name in names.items():
        expected: Decimal | None = None
        if sign != "/" or right != 0:
            expected = rounded(OPERATIONS[sign](left, right), 9)
            expected = None if expected.copy_abs() > NUMERIC_MAX else expected
        assert evaluate(engine, f"{name}(a, b)", **values) == expected


@FEW
@given(count=integers, price=numerics)
@example(count=2**63 - 1, price=Decimal("0.000000001"))
@example(count=-(2**63), price=Decimal("2.5"))
def test_integers_join_numerics_exactly(engine: Engine, count: int, price: Decimal) -> None:
    values = {"n": ("INT64", count), "p": ("NUMERIC", price)}
    product = EXACT.multiply(Decimal(count), price)
    agrees(engine, "n * p", rounded(product, 9), NUMERIC_MAX, **values)
    agrees(
        engine,
        "p / 1000000",
        rounded(EXACT.divide(price, Decimal(10**6)), 9),
        NUMERIC_MAX,
        **values,
    )
    if count:
        quotient = rounded(EXACT.divide(price, Decimal(count)), 9)
        agrees(engine, "p / n", quotient, NUMERIC_MAX, **values)


@FEW
@given(value=numerics, digits=st.integers(min_value=-4, max_value=10))
def test_rounding_is_half_away_from_zero(engine: Engine, value: Decimal, digits: int) -> None:
    values = {"a": ("NUMERIC", value), "n": ("INT64", digits)}
    expected = value if digits >= 9 else rounded(value, digits)
    agrees(engine, f"ROUND(a, {digits})", expected, NUMERIC_MAX, **values)
    agrees(engine, "ROUND(a, n)", expected, NUMERIC_MAX, **values)


@FEW
@given(values=st.lists(numerics, min_size=1, max_size=8))
def test_aggregates_are_exact(engine: Engine, values: list[Decimal]) -> None:
    total = Decimal(0)
    for value in values:
        total = EXACT.add(total, value)
    listed = ", ".join(f"CAST('{value:f}' AS NUMERIC)" for value in values)
    if total.copy_abs() > NUMERIC_MAX:
        return
    row = engine.query(
        f"SELECT SUM(x), AVG(x), MIN(x), MAX(x) FROM UNNEST([{listed}]) AS x", project="p"
    ).rows()[0]["f"]
    average = rounded(EXACT.divide(total, Decimal(len(values))), 9)
    assert [Decimal(cell["v"]) for cell in row] == [total, average, min(values), max(values)]


@pytest.mark.parametrize("sign", OPERATIONS)
@FEW
@given(left=bignumerics, right=bignumerics)
@example(left=BIGNUMERIC_MAX, right=Decimal(1))
@example(left=BIGNUMERIC_MAX, right=Decimal("0.5"))
@example(left=Decimal("1E-38"), right=Decimal("0.5"))
@example(left=Decimal("-1E-38"), right=Decimal("0.5"))
def test_bignumeric_arithmetic_is_exact(
    engine: Engine, sign: str, left: Decimal, right: Decimal
) -> None:
    if sign == "/" and right == 0:
        return
    expected = rounded(OPERATIONS[sign](left, right), 38)
    values = {"a": ("BIGNUMERIC", left), "b": ("BIGNUMERIC", right)}
    agrees(engine, f"a {sign} b", expected, BIGNUMERIC_MAX, **values)


@FEW
@given(left=bignumerics, right=bignumerics)
def test_bignumerics_compare_and_sort_as_numbers(
    engine: Engine, left: Decimal, right: Decimal
) -> None:
    sql = (
        f"SELECT a < b, a = b, a > b FROM UNNEST([STRUCT(BIGNUMERIC '{left:f}' AS a,"
        f" BIGNUMERIC '{right:f}' AS b)])"
    )
    row = engine.query(sql, project="p").rows()[0]["f"]
    payload = [cell["v"] == "true" for cell in row]
    assert payload == [left < right, left == right, left > right]


def test_the_type_of_a_mix_is_bigquerys(engine: Engine) -> None:
    columns = "STRUCT(1 AS i, NUMERIC '1' AS n, BIGNUMERIC '1' AS b, CAST(1 AS FLOAT64) AS f)"
    pairs = {
        "i + i": "INTEGER", "i / i": "FLOAT", "i * n": "NUMERIC", "n / i": "NUMERIC",
        "n * b": "BIGNUMERIC", "i + b": "BIGNUMERIC", "n * f": "FLOAT", "b / f": "FLOAT",
        # A floating point literal takes the type of the NUMERIC next to it.
        "n * 0.5": "NUMERIC", "b * 0.5": "BIGNUMERIC", "i * 0.5": "FLOAT",
        "n * CAST(0.5 AS FLOAT64)": "FLOAT", "AVG(i)": "FLOAT", "AVG(n)": "NUMERIC",
        "SUM(b)": "BIGNUMERIC", "ROUND(n, 2)": "NUMERIC", "ROUND(i)": "FLOAT",
    }  # fmt: skip
    for sql, kind in pairs.items():
        result = engine.query(f"SELECT {sql} FROM UNNEST([{columns}])", project="p", dry_run=True)
        assert result.schema.fields[0].type == kind, sql

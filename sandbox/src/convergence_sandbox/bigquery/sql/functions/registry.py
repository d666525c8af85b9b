"""The function table: signatures as text, and functions that need more than a template.

A signature reads `STRING, INT64 = NULL -> STRING`. Its DuckDB template has `{0}`, `{1}`, … for
the arguments, coerced to the signature's types. A function with rules of its own is a handler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlglot import exp

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.coerce import coerce, cost
from convergence_sandbox.bigquery.sql.expr import Expr, combine
from convergence_sandbox.bigquery.sql.types import SIMPLE, SqlType, array

if TYPE_CHECKING:
    from convergence_sandbox.bigquery.sql.scope import Scope


class Compiler(Protocol):
    """The part of the expression compiler that a handler uses."""

    @property
    def exact(self) -> bool:
        """Return whether decimals are computed the slow, always exact way."""
        ...

    @property
    def now_micros(self) -> int:
        """Return the moment the query began."""
        ...

    def expr(self, node: exp.Expr, scope: Scope) -> Expr:
        """Compile one expression."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One function call being compiled.

    Attributes:
        name: the function's name, upper case.
        nodes: the arguments as parsed.
        scope: the names they may use.
        compiler: compiles arguments.
        safe: called with the SAFE. prefix: NULL instead of an error.
    """

    name: str
    nodes: tuple[exp.Expr, ...]
    scope: Scope
    compiler: Compiler
    safe: bool = False

    def arg(self, index: int) -> Expr:
        """Return the compiled argument."""
        return self.compiler.expr(self.nodes[index], self.scope)

    def args(self) -> list[Expr]:
        """Return all arguments, compiled."""
        return [self.compiler.expr(node, self.scope) for node in self.nodes]

    def check_count(self, low: int, high: int | None = None) -> None:
        """Reject a wrong number of arguments."""
        high = low if high is None else high
        if not low <= len(self.nodes) <= high:
            expected = str(low) if low == high else f"{low} to {high}"
            raise invalid_query(
                f"Number of arguments does not match for function {self.name}:"
                f" {expected} expected, {len(self.nodes)} given"
            )

    def mismatch(self, args: Sequence[Expr]) -> Exception:
        """Return the error for arguments that no signature takes."""
        supplied = ", ".join(str(one.type) for one in args)
        return invalid_query(
            f"No matching signature for function {self.name} for argument types: {supplied}"
        )

    def udf(self, name: str) -> str:
        """Return the name of a Python function, in the form that gives NULL when SAFE."""
        return f"safe_{name}" if self.safe else name

    def fail(self, message_sql: str, kind: SqlType) -> str:
        """Return an error while running, or NULL when SAFE."""
        if self.safe:
            return f"CAST(NULL AS {kind.duck})"
        return f"CAST(error({message_sql}) AS {kind.duck})"


Handler = Callable[[Call], Expr]
HANDLERS: dict[str, Handler] = {}
# Functions that cannot fail while running, or whose SAFE form is known, may carry SAFE.
SAFE_HANDLERS: set[str] = set()


@dataclass(frozen=True, slots=True)
class Signature:
    """One overload: argument types (the last ones optional), result, DuckDB template."""

    takes: tuple[SqlType, ...]
    required: int
    gives: SqlType
    template: str


TABLE: dict[str, list[Signature]] = {}


def handler(*names: str, safe: bool = False) -> Callable[[Handler], Handler]:
    """Register a handler under its BigQuery names."""

    def register(function: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = function
            if safe:
                SAFE_HANDLERS.add(name)
        return function

    return register


def define(entries: dict[str, str | list[str]]) -> None:
    """Register signatures: `{"UPPER": "STRING -> STRING: upper({0})"}`."""
    for names, lines in entries.items():
        for name in names.split():
            made = [_signature(line) for line in ([lines] if isinstance(lines, str) else lines)]
            TABLE.setdefault(name, []).extend(made)


def _signature(line: str) -> Signature:
    head, _, template = line.partition(": ")
    takes, _, gives = head.partition("->")
    keywords = [keyword.strip() for keyword in takes.split(",") if keyword.strip()]
    required = sum(not keyword.endswith("?") for keyword in keywords)
    kinds = tuple(_kind(keyword.rstrip("?")) for keyword in keywords)
    return Signature(kinds, required, _kind(gives.strip()), template)


def _kind(keyword: str) -> SqlType:
    if keyword.startswith("ARRAY<"):
        return array(SIMPLE[keyword[6:-1]])
    return SIMPLE[keyword]


def compile_call(call: Call) -> Expr:
    """Compile a call of a scalar function.

    Raises:
        BigQueryError: 400 for arguments it does not take, 501 for a function not in the table.
    """
    if call.name in HANDLERS:
        if call.safe and call.name not in SAFE_HANDLERS:
            raise not_implemented(f"SAFE.{call.name}")
        return HANDLERS[call.name](call)
    signatures = TABLE.get(call.name)
    if signatures is None:
        raise not_implemented(f"function {call.name}")
    return _apply(call, signatures)


def _apply(call: Call, signatures: list[Signature]) -> Expr:
    args = call.args()
    best: tuple[int, Signature] | None = None
    for one in signatures:
        if not one.required <= len(args) <= len(one.takes):
            continue
        costs = [cost(arg, kind) for arg, kind in zip(args, one.takes, strict=False)]
        total = sum(each for each in costs if each is not None)
        if None not in costs and (best is None or total < best[0]):
            best = (total, one)
    if best is None:
        raise call.mismatch(args)
    chosen = best[1]
    supplied = [coerce(arg, kind) for arg, kind in zip(args, chosen.takes, strict=False)]
    values = [one.sql for one in supplied] + ["NULL"] * (len(chosen.takes) - len(supplied))
    sql = chosen.template.format(*values, safe="safe_" if call.safe else "")
    if call.safe and "error(" in sql:
        raise not_implemented(f"SAFE.{call.name}")
    return combine(sql, chosen.gives, supplied)

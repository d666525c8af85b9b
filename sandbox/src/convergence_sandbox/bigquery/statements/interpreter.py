"""Running scripts: variables, control flow, and transactions that span statements."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb
from sqlglot import exp

from convergence_sandbox.bigquery.database import commits
from convergence_sandbox.bigquery.database.duckdb_errors import translated
from convergence_sandbox.bigquery.errors import BigQueryError, invalid_query, not_implemented
from convergence_sandbox.bigquery.resources import tables
from convergence_sandbox.bigquery.resources.catalog import Session
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.rows.wire import timestamp_micros
from convergence_sandbox.bigquery.sql.casts import declared_type
from convergence_sandbox.bigquery.sql.coerce import coerce
from convergence_sandbox.bigquery.sql.dialect import parse
from convergence_sandbox.bigquery.sql.expr import Expr
from convergence_sandbox.bigquery.sql.literals import literal
from convergence_sandbox.bigquery.sql.output import compile_query, fetch_sql
from convergence_sandbox.bigquery.sql.types import BOOL, STRING, SqlType, stored_names
from convergence_sandbox.bigquery.statements import scripts
from convergence_sandbox.bigquery.statements.request import QueryRequest
from convergence_sandbox.bigquery.statements.runner import StatementRunner
from convergence_sandbox.bigquery.statements.scripts import (
    Block,
    If,
    Loop,
    Node,
    Piece,
    Reader,
    Statement,
)

MAX_STEPS = 100_000
_JUMPS = {
    "BREAK": "BREAK",
    "LEAVE": "BREAK",
    "CONTINUE": "CONTINUE",
    "ITERATE": "CONTINUE",
    "RETURN": "RETURN",
}


class _JumpError(Exception):
    """BREAK, CONTINUE or RETURN on its way to where it goes."""

    def __init__(self, keyword: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword


@dataclass(slots=True)
class Interpreter:
    """One run of one script, on one connection.

    Attributes:
        runner: runs the plain statements.
        cursor: the connection, which also holds the script's temporary tables.
        transaction: holds the write lock between BEGIN and COMMIT.
        session: the open transaction's session.
        error: what the innermost EXCEPTION handler handles.
    """

    runner: StatementRunner
    cursor: duckdb.DuckDBPyConnection
    request: QueryRequest
    children: list[QueryResult] = field(default_factory=list)
    transaction: contextlib.ExitStack | None = None
    session: Session | None = None
    steps: int = 0
    error: BigQueryError | None = None

    def run(self) -> QueryResult:
        """Run the script; its result is that of its last query."""
        nodes = Reader(scripts.read_script(self.request.sql)).script()
        if self.request.dry_run:
            return QueryResult("SCRIPT", sql=self.request.sql)
        try:
            self._all(nodes)
        except _JumpError as jump:
            if jump.keyword != "RETURN":
                raise invalid_query(
                    f"{jump.keyword} is only allowed inside of a loop body"
                ) from None
        finally:
            self._end(commit=False)
            for meta in self.runner.temporary.values():
                self.cursor.execute(f"DROP TABLE IF EXISTS {tables.stored_name(meta)}")
        return self._result()

    def _result(self) -> QueryResult:
        read = [ref for one in self.children for ref in one.referenced_tables]
        made = QueryResult(
            "SCRIPT",
            sql=self.request.sql,
            child_results=tuple(self.children),
            total_bytes_processed=sum(one.total_bytes_processed for one in self.children),
            referenced_tables=tuple(dict.fromkeys(read)),
        )
        for one in reversed(self.children):
            if one.statement_type == "SELECT":
                made.schema, made.data, made.row_count = one.schema, one.data, one.row_count
                break
        return made

    # --- control flow -----------------------------------------------------------------------

    def _all(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            self._step()
            if isinstance(node, Statement):
                self._statement(node.piece)
            elif isinstance(node, Block):
                self._block(node)
            elif isinstance(node, If):
                self._if(node)
            elif isinstance(node, Loop):
                self._loop(node)
            else:
                self._for_each(node)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise invalid_query(f"Script exceeded {MAX_STEPS} steps")

    def _block(self, node: Block) -> None:
        outer = set(self.runner.variables)
        try:
            self._all(node.body)
        except BigQueryError as error:
            # A construct that is not implemented is a gap of the stand-in: no script may hide it.
            if node.handler is None or error.status == 501:
                raise
            self._end(commit=False)
            self.error = error
            self._all(node.handler)
        finally:
            # What the block declared ends with it; what it set outside stays.
            for name in self.runner.variables.keys() - outer:
                del self.runner.variables[name]

    def _if(self, node: If) -> None:
        for condition, body in node.branches:
            if self._true(condition):
                self._all(body)
                return
        self._all(node.otherwise)

    def _true(self, piece: Piece) -> bool:
        return bool(self._value(piece.sql, BOOL).literal)

    def _loop(self, node: Loop) -> None:
        while node.condition is None or self._true(node.condition):
            self._step()
            if not self._round(node.body):
                return

    def _round(self, body: tuple[Node, ...]) -> bool:
        """Return one pass of a loop; False when it is to end."""
        try:
            self._all(body)
        except _JumpError as jump:
            if jump.keyword == "RETURN":
                raise
            return jump.keyword != "BREAK"
        return True

    def _for_each(self, node: scripts.ForEach) -> None:
        rows, kind = self._rows(node.query.sql)
        name, variables = node.variable.lower(), self.runner.variables
        kept = variables.get(name)
        for row in rows:
            variables[name] = literal(row, kind)
            if not self._round(node.body):
                break
        variables.pop(name, None)
        if kept is not None:
            variables[name] = kept

    # --- statements -------------------------------------------------------------------------

    def _statement(self, piece: Piece) -> None:
        keyword = piece.keyword(0)
        short = {
            "DECLARE": self._declare,
            "SET": self._set,
            "RAISE": self._raise,
            "ASSERT": self._assert,
            "EXECUTE": self._execute,
        }.get(keyword)
        if short is not None:
            short(piece)
        elif keyword in _JUMPS:
            raise _JumpError(_JUMPS[keyword])
        elif keyword in scripts.TRANSACTION_BEGINS:
            self._begin()
        elif keyword in {"COMMIT", "ROLLBACK"}:
            if self.transaction is None:
                raise invalid_query(f"Transaction control: {keyword} without BEGIN TRANSACTION")
            self._end(commit=keyword == "COMMIT")
        else:
            self._run_sql(piece.sql)

    def _run_sql(self, sql: str) -> None:
        if self.session is None:
            self.children.append(self.runner.run_standalone(self.cursor, sql))
            return
        if isinstance(parse(sql), exp.Create | exp.Drop | exp.Alter):
            raise not_implemented("DDL inside a transaction")
        self.children.append(self.runner.run_inside(self.session, sql))

    def _begin(self) -> None:
        if self.transaction is not None:
            raise invalid_query("Transaction control: a transaction is already open")
        stack = contextlib.ExitStack()
        stack.enter_context(self.runner.storage.write_lock)
        self.cursor.execute("BEGIN TRANSACTION")
        self.transaction = stack
        self.session = Session(self.cursor, catalog=self.runner.catalog)

    def _end(self, *, commit: bool) -> None:
        if self.transaction is None:
            return
        stack, self.transaction, self.session = self.transaction, None, None
        with stack:
            if commit:
                commits.record(self.cursor)
            self.cursor.execute("COMMIT" if commit else "ROLLBACK")

    # --- variables and values ---------------------------------------------------------------

    def _declare(self, piece: Piece) -> None:
        keywords, at = piece.keywords(), 2
        while at < len(keywords) and keywords[at] == ",":
            at += 2
        names = [piece.tokens[index].text for index in range(1, at, 2)]
        default = keywords.index("DEFAULT") if "DEFAULT" in keywords else len(keywords)
        kind = None
        if default > at:
            cast = parse(f"SELECT CAST(NULL AS {piece.part(at, default).sql})").expressions[0]
            kind = declared_type(cast.args["to"])[0]
        value = None
        if default < len(keywords):
            value = self._value(piece.part(default + 1).sql, kind)
        if kind is None and value is None:
            raise invalid_query("DECLARE needs a type or a DEFAULT")
        for name in names:
            if name.lower() in self.runner.variables:
                raise invalid_query(f"Re-declaration of variable '{name}'")
            self.runner.variables[name.lower()] = value or literal(None, kind or BOOL)

    def _set(self, piece: Piece) -> None:
        if piece.keyword(1) == "(":
            self._set_several(piece)
            return
        name = piece.tokens[1].text
        if piece.keyword(2) != "=":
            raise not_implemented(f"SET {piece.sql}")
        kind = self._known(name).type
        self.runner.variables[name.lower()] = self._value(piece.part(3).sql, kind)

    def _known(self, name: str) -> Expr:
        known = self.runner.variables.get(name.lower())
        if known is None:
            raise invalid_query(f"Undeclared variable: {name}")
        return known

    def _set_several(self, piece: Piece) -> None:
        close = piece.keywords().index(")")
        names = [one.text for one in piece.tokens[2:close] if one.text != ","]
        if piece.keyword(close + 1) != "=":
            raise invalid_query(f"Syntax error in {piece.sql}")
        value = self._value(piece.part(close + 2).sql, None)
        if value.type.kind != "STRUCT" or len(value.type.fields) != len(names):
            raise invalid_query(
                f"SET expects a STRUCT with {len(names)} fields, but got type {value.type}"
            )
        parts = value.literal or [None] * len(names)
        for name, (_, kind), one in zip(names, value.type.fields, parts, strict=True):
            self.runner.variables[name.lower()] = _as_type(one, kind, self._known(name).type)

    def _value(self, sql: str, kind: SqlType | None) -> Expr:
        """Return an expression computed now, as a literal of the requested type."""
        rows, row = self._rows(f"SELECT {sql}")
        found = row.fields[0][1]
        return _as_type(rows[0][0], found, found if kind is None else kind)

    def _rows(self, sql: str) -> tuple[list[list[Any]], SqlType]:
        """Return a query's rows as Python values, and the type of a row."""
        node = parse(sql)
        while isinstance(node, exp.Subquery) and not node.args.get("with_"):
            node = node.this
        try:
            if self.session is not None:
                return self._fetched(self.session, node)
            with self.runner.storage.transaction(self.cursor, write=False):
                return self._fetched(Session(self.cursor, catalog=self.runner.catalog), node)
        except duckdb.Error as error:
            raise translated(error) from None

    def _fetched(self, session: Session, node: exp.Expr) -> tuple[list[list[Any]], SqlType]:
        query = compile_query(node, self.runner.context(session, exact=True))
        rows = session.cursor.sql(fetch_sql(query)).to_arrow_table()
        fields = tuple((one.name, one.type) for one in query.columns)
        columns = [
            [python_value(value, kind) for value in rows.column(index).to_pylist()]
            for index, (_, kind) in enumerate(fields)
        ]
        return [list(row) for row in zip(*columns, strict=True)], SqlType("STRUCT", fields=fields)

    # --- short statements -------------------------------------------------------------------

    def _raise(self, piece: Piece) -> None:
        if len(piece) == 1:
            raise self.error or invalid_query("RAISE without an error to raise again")
        if piece.keywords()[1:4] != ["USING", "MESSAGE", "="]:
            raise not_implemented(f"script statement {piece.sql}")
        raise invalid_query(str(self._value(piece.part(4).sql, STRING).literal))

    def _assert(self, piece: Piece) -> None:
        keywords = piece.keywords()
        end = keywords.index("AS") if "AS" in keywords else len(keywords)
        if not self._true(piece.part(1, end)):
            message = piece.tokens[end + 1].text if end + 1 < len(keywords) else "Assertion failed"
            raise invalid_query(message)

    def _execute(self, piece: Piece) -> None:
        keywords = piece.keywords()
        if keywords[1] != "IMMEDIATE" or "INTO" in keywords or "USING" in keywords:
            raise not_implemented(f"script statement {piece.sql}")
        self._run_sql(str(self._value(piece.part(2).sql, STRING).literal))


def _as_type(value: Any, found: SqlType, target: SqlType) -> Expr:  # noqa: ANN401  # any value
    """Return a computed value as a literal of the type it is assigned to."""
    if value is None or found == target:
        return literal(value, target)
    return literal(coerce(literal(value, found), target).literal, target)


def python_value(value: Any, kind: SqlType) -> Any:  # noqa: ANN401  # any value of a result
    """Return a fetched value in the form that literals take."""
    if kind.element is not None:
        return [python_value(one, kind.element) for one in value or ()]
    if value is None:
        return None
    if kind.kind == "STRUCT":
        return [
            python_value(value[name], one)
            for name, (_, one) in zip(stored_names(kind), kind.fields, strict=True)
        ]
    if kind.kind == "TIMESTAMP":
        return timestamp_micros(value)
    if kind.kind == "BIGNUMERIC":
        return Decimal(value)
    return value

"""Check that every table in a SQL file comes from a placeholder.

A SQL file may read and write only the datasets that its caller fills in, such as `{{ dataset }}`
and `{{ central }}`; this keeps orgs apart. The check runs before every statement, on the text that
BigQuery gets. So it is a single pass over the tokens and not a parser, and it rejects everything
that it does not know. `make lint-configs` also parses the same files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from convergence.warehouse.sql.tokens import SqlFormError, Token, tokenize_sql

PROJECTS: Final = frozenset({"project", "export_project"})
"""Placeholders that stand for a project. A step's `reads` may not use these names."""
DATASETS: Final = frozenset({"central", "dataset", "export_dataset"})
"""Placeholders that stand for a dataset. A step's `reads` may not use these names."""

STATEMENTS: Final = frozenset(
    {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE"}
    | {"DECLARE", "SET", "BEGIN", "COMMIT", "ROLLBACK", "END", "ASSERT"}
)
"""The keywords that a statement of a SQL file may start with."""

_NAMESPACES: Final = frozenset({"SAFE", "NET", "HLL_COUNT", "KEYS", "AEAD", "KLL_QUANTILES"})
_FOREIGN_FUNCTIONS: Final = frozenset({"EXTERNAL_QUERY", "EXTERNAL_OBJECT_TRANSFORM"})
_VARIABLES: Final = frozenset({"@@row_count", "@@error", "@@time_zone"})
# Behind these a table follows; a list of tables goes on after a comma.
_BEFORE_TABLES: Final = frozenset({"FROM", "JOIN", "INTO", "USING", "TABLE", "MODEL"})
_TARGETS: Final = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
# Reserved words only: a column of the name would hide the tables behind it.
_AFTER_TABLES: Final = frozenset(
    {"SELECT", "WHERE", "GROUP", "HAVING", "QUALIFY", "WINDOW", "ORDER", "LIMIT"}
    | {"UNION", "INTERSECT", "EXCEPT", "SET"}
)
_MAX_SHOWN_CHARS: Final = 120


class TableRule(NamedTuple):
    """The projects and datasets that a statement may name."""

    projects: frozenset[str]
    datasets: frozenset[str]

    @classmethod
    def for_identifiers(cls, identifiers: Mapping[str, object]) -> TableRule:
        """Return the rule of a call: the values of the placeholders for projects and datasets."""
        return cls(_select_texts(identifiers, PROJECTS), _select_texts(identifiers, DATASETS))

    def allows(self, path: str) -> bool:
        """Return whether `project.dataset.table` or `dataset.table` is in an allowed dataset."""
        for project in self.projects:
            if path.startswith(f"{project}."):
                return path.removeprefix(f"{project}.").partition(".")[0] in self.datasets
        dataset, _, table = path.partition(".")
        # Three parts begin with a project, whatever else has that name.
        view = table.upper().startswith("INFORMATION_SCHEMA.") and table.count(".") == 1
        return dataset in self.datasets and ("." not in table or view)


class SqlViolation(NamedTuple):
    """A violation at a position of the statement; `path` is the name as written, if any."""

    position: int
    message: str
    path: str = ""


def _select_texts(identifiers: Mapping[str, object], names: Collection[str]) -> frozenset[str]:
    found = (value for name, value in identifiers.items() if name in names)
    return frozenset(value for value in found if isinstance(value, str))


@lru_cache(maxsize=512)
def find_sql_violations(sql: str, rule: TableRule) -> tuple[SqlViolation, ...]:
    """Return every name in a statement or script that is outside the rule's datasets."""
    try:
        return tuple(_Scan(tokenize_sql(sql), rule).violations())
    except SqlFormError as error:
        return (SqlViolation(error.position, error.message),)


@dataclass
class _Frame:
    """One level of parentheses.

    Attributes:
        function: the word before the parenthesis.
        table_next: a table's name may follow.
        listing: a comma leads to another table.
    """

    function: str = ""
    table_next: bool = False
    listing: bool = False
    seen_select: bool = False


@dataclass
class _Scan:
    words: list[Token]
    rule: TableRule
    frames: list[_Frame] = field(default_factory=lambda: [_Frame()])

    def violations(self) -> Iterator[SqlViolation]:
        at, begins = 0, True
        while at < len(self.words):
            token = self.words[at]
            if begins and token.text not in ("(", ";"):
                yield from self._check_statement(token)
            begins = self._begins_next(at) or (begins and token.text == "(")
            if token.kind == "param":
                yield from self._check_variable(token)
                self._frame.table_next = False
            elif token.kind in ("word", "quoted") and not self._enter_keyword(at):
                end, path = self._read_path(at)
                yield from self._check_name(at, end, path)
                at = end
                continue
            elif token.kind == "symbol":
                self._enter_symbol(at)
            at += 1

    @property
    def _frame(self) -> _Frame:
        return self.frames[-1]

    def _text_at(self, at: int) -> str:
        return self.words[at].text.upper() if 0 <= at < len(self.words) else ""

    def _check_statement(self, token: Token) -> Iterator[SqlViolation]:
        if token.text.upper() not in STATEMENTS:
            keyword = token.text.upper()[:_MAX_SHOWN_CHARS]
            yield SqlViolation(token.position, f"a SQL file may not hold a statement {keyword} …")

    def _begins_next(self, at: int) -> bool:
        keyword = self._text_at(at)
        if keyword == "BEGIN" and self._text_at(at + 1) != "TRANSACTION":
            return True
        return keyword == ";"

    def _check_variable(self, token: Token) -> Iterator[SqlViolation]:
        if token.text.startswith("@@") and token.text.lower() not in _VARIABLES:
            yield SqlViolation(token.position, f"a SQL file may not use {token.text}")

    def _enter_symbol(self, at: int) -> None:
        text = self.words[at].text
        if text == "(":
            inside = self._frame.table_next
            self._frame.table_next = False
            self.frames.append(_Frame(self._text_at(at - 1), table_next=inside, listing=inside))
        elif text == ")":
            if len(self.frames) > 1:
                self.frames.pop()
            self._frame.table_next = False
        elif text == ",":
            self._frame.table_next = self._frame.listing
        elif text == ";":
            self.frames = [_Frame()]
        else:
            self._frame.table_next = False

    def _enter_keyword(self, at: int) -> bool:
        """Update the frame for a keyword; return whether the token is one."""
        keyword, frame = self._text_at(at), self._frame
        if self.words[at].kind == "quoted" or self._text_at(at - 1) == ".":
            return False
        if keyword in _BEFORE_TABLES:
            if not self._is_no_clause(at, keyword):
                frame.table_next = True
                frame.listing = frame.listing or keyword in ("FROM", "JOIN")
            return True
        if keyword in _TARGETS:
            # MERGE … THEN UPDATE SET …, THEN INSERT (…), THEN DELETE: the table was named before.
            frame.table_next = self._text_at(at - 1) != "THEN"
            return True
        if keyword in _AFTER_TABLES:
            frame.table_next = frame.listing = False
            frame.seen_select = frame.seen_select or keyword == "SELECT"
            return True
        return keyword in ("ON", "AS", "IF", "EXISTS", "NOT") and frame.table_next

    def _is_no_clause(self, at: int, keyword: str) -> bool:
        # IS [NOT] DISTINCT FROM x.y, EXTRACT(part FROM x.y)
        extracts = self._frame.function == "EXTRACT" and not self._frame.seen_select
        return keyword == "FROM" and (extracts or self._text_at(at - 1) == "DISTINCT")

    def _read_path(self, at: int) -> tuple[int, str]:
        """Return where the dotted name at a word ends, and the name without its quotes."""
        parts, end = [self._read_part(at)], at + 1
        if self._frame.table_next:
            end = self._read_dashes(end, parts)
        while self._text_at(end) == "." and self._follows(end + 1):
            parts.append(self._read_part(end + 1))
            end += 2
        if self._text_at(end) == "*" and self._touches(end) and self._frame.table_next:
            end += 1
        return end, ".".join(parts)

    def _read_dashes(self, end: int, parts: list[str]) -> int:
        # An unquoted project may hold dashes, without a space.
        while self._text_at(end) == "-" and self._touches(end) and self._touches(end + 1):
            parts[-1] += f"-{self.words[end + 1].text}"
            end += 2
        return end

    def _follows(self, at: int) -> bool:
        return at < len(self.words) and self.words[at].kind in ("word", "quoted", "number")

    def _touches(self, at: int) -> bool:
        if at >= len(self.words):
            return False
        before = self.words[at - 1]
        return before.position + len(before.text) == self.words[at].position

    def _read_part(self, at: int) -> str:
        token = self.words[at]
        return token.text[1:-1] if token.kind == "quoted" else token.text

    def _check_name(self, at: int, end: int, path: str) -> Iterator[SqlViolation]:
        token, called = self.words[at], self._text_at(end) == "("
        in_table_place = self._frame.table_next
        self._frame.table_next = False
        keyword = path.upper()
        if called and keyword in _FOREIGN_FUNCTIONS:
            yield SqlViolation(token.position, f"a SQL file may not call {keyword}", path)
        elif keyword == "EXECUTE" and self._text_at(end) == "IMMEDIATE":
            yield SqlViolation(token.position, "a SQL file may not build statements (EXECUTE)")
        # A dotted name in another place is a column; quoted as one name, it never is.
        elif (in_table_place or called or "." in self._read_part(at)) and not self._is_fine(
            path, called=called
        ):
            yield SqlViolation(token.position, _build_message(path, called=called), path)

    def _is_fine(self, path: str, *, called: bool) -> bool:
        if "." not in path or self.rule.allows(path):
            return True
        return called and path.partition(".")[0].upper() in _NAMESPACES


def _build_message(path: str, *, called: bool) -> str:
    what = "function" if called else "table"
    shown = path if len(path) <= _MAX_SHOWN_CHARS else f"{path[:_MAX_SHOWN_CHARS]}…"
    name = path.rpartition(".")[2] if "INFORMATION_SCHEMA" not in path.upper() else "…"
    return (
        f"the {what} {shown} does not come from a placeholder; write "
        f"`{{{{ project }}}}.{{{{ dataset }}}}.{name}`, or UNNEST(…) for an array"
    )

"""sqlglot's BigQuery parser, kept from rewriting what it reads.

sqlglot turns functions into neutral nodes, so that one dialect can be written as another. Here a
function keeps BigQuery's own name and arguments: the function table decides what it means, and a
function it does not list is rejected by name.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser
from sqlglot.parsers.bigquery import BigQueryParser
from sqlglot.tokenizer_core import Token

from convergence_sandbox.bigquery.errors import BigQueryError, invalid_query

# sqlglot warns when it keeps a statement as text; such statements are rejected by name here.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
_KEPT = ("CAST", "SAFE_CAST", "EXTRACT", "ARRAY")


class _LiteralParser(BigQueryParser):
    FUNCTIONS: ClassVar[Any] = {}
    FUNCTION_PARSERS: ClassVar[Any] = {
        name: parse for name, parse in BigQueryParser.FUNCTION_PARSERS.items() if name in _KEPT
    }

    def _parse_unnest(self, with_alias: bool = True) -> exp.Unnest | None:
        return Parser._parse_unnest(self, with_alias=with_alias)  # noqa: SLF001


class Dialect(BigQuery):
    """BigQuery, functions left as written."""

    Parser = _LiteralParser


class _ScriptTokenizer(BigQuery.Tokenizer):
    # Else the rest of a statement after BEGIN, LOOP, CALL, … is one opaque token.
    COMMANDS: ClassVar[Any] = set()


class _ScriptDialect(BigQuery):
    Tokenizer = _ScriptTokenizer


@lru_cache(maxsize=512)
def parse(sql: str) -> exp.Expr:
    """Return the syntax tree of one statement. It is cached: never change it.

    Raises:
        BigQueryError: 400 with the place of the syntax error.
    """
    try:
        found = [one for one in Dialect().parse(sql) if one is not None]
    except (ParseError, TokenError) as error:
        raise _syntax_error(error) from None
    except RecursionError:
        raise invalid_query("Query is too complex: expressions are nested too deeply") from None
    if len(found) != 1:
        raise invalid_query(
            "Syntax error: Unexpected end of script"
            if not found
            else "Syntax error: Expected end of input"
        )
    _reject_reserved_aliases(found[0])
    return found[0]


def _reject_reserved_aliases(tree: exp.Expr) -> None:
    # sqlglot takes any word as an alias; GoogleSQL takes a reserved keyword in backticks only.
    for node in tree.find_all(exp.Alias, exp.TableAlias):
        name = node.args.get("alias") if isinstance(node, exp.Alias) else node.this
        if (
            isinstance(name, exp.Identifier)
            and not name.args.get("quoted")
            and name.name.lower() in BigQuery.Generator.RESERVED_KEYWORDS
        ):
            raise invalid_query(f"Syntax error: Unexpected keyword {name.name.upper()}")


@lru_cache(maxsize=512)
def tokenize(sql: str) -> tuple[Token, ...]:
    """Return the tokens of a script, comments dropped."""
    try:
        return tuple(_ScriptDialect().tokenize(sql))
    except TokenError as error:
        raise _syntax_error(error) from None


def _syntax_error(error: ParseError | TokenError) -> BigQueryError:
    details = getattr(error, "errors", None) or [{}]
    first = details[0]
    if not first.get("description"):
        return invalid_query(f"Syntax error: {error}")
    near = str(first.get("highlight") or "").strip() or "end of script"
    where = f"[{first.get('line')}:{first.get('col')}]"
    return invalid_query(f"Syntax error: {first['description'].rstrip('.')} near {near} at {where}")

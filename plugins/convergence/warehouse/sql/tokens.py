"""Split a BigQuery statement into tokens, without its comments.

It knows enough of the lexical structure to separate names from strings and comments:
https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, cast

Kind = Literal["string", "quoted", "param", "word", "number", "symbol"]


class Token(NamedTuple):
    """One token: `text` as written, `position` in the statement."""

    kind: Kind
    text: str
    position: int


class SqlFormError(ValueError):
    """Raised when a statement is not allowed in a SQL file; `position` is the place."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>--[^\n]*|\#[^\n]*|/\*.*?\*/)
  | (?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:
        \"\"\"(?:\\.|[^\\])*?\"\"\" | '''(?:\\.|[^\\])*?'''
      | \"(?!\"\")(?:\\.|[^\"\\\n])*\" | '(?!'')(?:\\.|[^'\\\n])*'))
  | (?P<quoted>`(?:\\.|[^`\\])*`)
  | (?P<param>@@?[A-Za-z_]\w*)
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d\w*)
  | (?P<symbol>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENERS: Final = {"'": "text", '"': "text", "`": "a quoted name"}


def tokenize_sql(sql: str) -> list[Token]:
    """Return the tokens of a statement in order.

    Raises:
        SqlFormError: a string, a quoted name or a comment does not end.
    """
    found: list[Token] = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        if kind in ("space", "comment"):
            continue
        text = match.group()
        if kind == "symbol" and (text in _OPENERS or sql.startswith("/*", match.start())):
            raise SqlFormError(f"{_OPENERS.get(text, 'a comment')} does not end", match.start())
        found.append(Token(cast("Kind", kind), text, match.start()))
    return found

"""Scripts: several statements, variables, blocks, branches, loops, transactions.

https://cloud.google.com/bigquery/docs/reference/standard-sql/procedural-language
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot.tokenizer_core import Token, TokenType

from convergence_sandbox.bigquery.errors import invalid_query, not_implemented
from convergence_sandbox.bigquery.sql.dialect import tokenize

TRANSACTION_BEGINS = ("BEGIN", "BEGIN TRANSACTION")
_SCRIPT_KEYWORDS = frozenset(
    [
        "DECLARE",
        "SET",
        "BEGIN",
        "IF",
        "LOOP",
        "WHILE",
        "REPEAT",
        "FOR",
        "CASE",
        "BREAK",
        "LEAVE",
        "CONTINUE",
        "ITERATE",
        "RETURN",
        "RAISE",
        "EXECUTE",
        "COMMIT",
        "ROLLBACK",
        "ASSERT",
        "CALL",
    ]
) | {"BEGIN TRANSACTION"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of tokens with the text they were read from."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def sql(self) -> str:
        """Return the text of the tokens."""
        if not self.tokens:
            return ""
        return self.text[self.tokens[0].start : self.tokens[-1].end + 1]

    def keyword(self, index: int) -> str:
        """Return a token's text in upper case, or empty past the end; quoted ones never match."""
        if not 0 <= index < len(self.tokens):
            return ""
        token = self.tokens[index]
        if token.token_type in {TokenType.STRING, TokenType.IDENTIFIER}:
            return f"\0{token.text}"
        return token.text.upper()

    def keywords(self) -> list[str]:
        """Return every token as `keyword` gives it."""
        return [self.keyword(index) for index in range(len(self.tokens))]

    def part(self, start: int, end: int | None = None) -> Piece:
        """Some of the tokens."""
        return Piece(self.text, self.tokens[start:end])

    def __len__(self) -> int:
        return len(self.tokens)


def numbered(sql: str) -> str:
    """Return the text with each `?` named by its place, since statements compile out of order."""
    marks = [one for one in tokenize(sql) if one.token_type == TokenType.PLACEHOLDER]
    made, end = [], 0
    for number, token in enumerate(marks):
        made.append(sql[end : token.start])
        made.append(f"@__position_{number}")
        end = token.end + 1
    return "".join(made) + sql[end:]


def read_script(sql: str) -> Piece:
    """Return the tokens of a script, positional parameters named."""
    text = numbered(sql)
    return Piece(text, tokenize(text))


def split(sql: str) -> list[Piece]:
    """Return the statements of a list without blocks."""
    piece = read_script(sql)
    found, start = [], 0
    for index, token in enumerate(piece.tokens):
        if token.token_type == TokenType.SEMICOLON:
            found.append(piece.part(start, index))
            start = index + 1
    found.append(piece.part(start))
    return [one for one in found if len(one)]


def is_script(sql: str) -> bool:
    """Return whether the text is more than one plain statement."""
    statements = split(sql)
    return len(statements) > 1 or any(one.keyword(0) in _SCRIPT_KEYWORDS for one in statements)


def text_after_as(sql: str) -> str:
    """Return the query of `CREATE … AS query`, as written."""
    piece = Piece(sql, tokenize(sql))
    depth = 0
    for index, keyword in enumerate(piece.keywords()):
        depth += (keyword == "(") - (keyword == ")")
        if keyword == "AS" and depth == 0:
            rest = piece.part(index + 1)
            if rest.keyword(len(rest) - 1) == ";":
                rest = rest.part(0, len(rest) - 1)
            return rest.sql
    raise invalid_query("Expected AS and a query")


# --- the syntax tree of a script ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """A plain SQL statement, or one of the short procedural ones by its first word."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class Block:
    """BEGIN … [EXCEPTION WHEN ERROR THEN …] END."""

    body: tuple[Node, ...]
    handler: tuple[Node, ...] | None


@dataclass(frozen=True, slots=True)
class If:
    """IF … ELSEIF … ELSE … END IF."""

    branches: tuple[tuple[Piece, tuple[Node, ...]], ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """WHILE … DO … END WHILE, and LOOP … END LOOP without a condition."""

    condition: Piece | None
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ForEach:
    """FOR row IN (query) DO … END FOR."""

    variable: str
    query: Piece
    body: tuple[Node, ...]


Node = Statement | Block | If | Loop | ForEach


class Reader:
    """Reads a script's tokens into nodes."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._at = 0

    def script(self) -> tuple[Node, ...]:
        """Return the whole script."""
        body = self._body(())
        if self._at < len(self._piece):
            raise invalid_query(f"Syntax error: Unexpected {self._keyword()}")
        return body

    def _keyword(self, ahead: int = 0) -> str:
        return self._piece.keyword(self._at + ahead)

    def _expect(self, *keywords: str) -> None:
        for keyword in keywords:
            if self._keyword() != keyword:
                found = self._keyword() or "end of script"
                raise invalid_query(f"Syntax error: Expected {keyword} but got {found}")
            self._at += 1

    def _body(self, ends: Sequence[str]) -> tuple[Node, ...]:
        nodes: list[Node] = []
        while self._at < len(self._piece) and self._keyword() not in ends:
            if self._keyword() == ";":
                self._at += 1
                continue
            nodes.append(self._node())
        return tuple(nodes)

    def _node(self) -> Node:
        keyword = self._keyword()
        if keyword == "BEGIN" and self._keyword(1) not in {"TRANSACTION", ";", ""}:
            return self._block()
        if keyword == "IF":
            return self._if()
        if keyword in {"WHILE", "LOOP"}:
            return self._loop(keyword)
        if keyword == "FOR":
            return self._for()
        if keyword in {"REPEAT", "CASE", "CALL"}:
            raise not_implemented(f"script statement {keyword}")
        return Statement(self._until(";"))

    def _until(self, *keywords: str) -> Piece:
        """Tokens up to one of the words outside parentheses and CASE … END."""
        start, depth = self._at, 0
        while self._at < len(self._piece):
            keyword = self._keyword()
            if depth == 0 and keyword in keywords:
                break
            depth += (keyword in {"(", "CASE"}) - (keyword in {")", "END"})
            self._at += 1
        return self._piece.part(start, self._at)

    def _block(self) -> Node:
        self._expect("BEGIN")
        body, handler = self._body(("EXCEPTION", "END")), None
        if self._keyword() == "EXCEPTION":
            self._expect("EXCEPTION", "WHEN", "ERROR", "THEN")
            handler = self._body(("END",))
        self._expect("END")
        return Block(body, handler)

    def _branch(self) -> tuple[Piece, tuple[Node, ...]]:
        condition = self._until("THEN")
        self._expect("THEN")
        return condition, self._body(("ELSEIF", "ELSE", "END"))

    def _if(self) -> Node:
        self._expect("IF")
        branches = [self._branch()]
        otherwise: tuple[Node, ...] = ()
        while self._keyword() == "ELSEIF":
            self._expect("ELSEIF")
            branches.append(self._branch())
        if self._keyword() == "ELSE":
            self._expect("ELSE")
            otherwise = self._body(("END",))
        self._expect("END", "IF")
        return If(tuple(branches), otherwise)

    def _loop(self, keyword: str) -> Node:
        self._expect(keyword)
        condition = None
        if keyword == "WHILE":
            condition = self._until("DO")
            self._expect("DO")
        body = self._body(("END",))
        self._expect("END", keyword)
        return Loop(condition, body)

    def _for(self) -> Node:
        self._expect("FOR")
        variable = self._piece.tokens[self._at].text
        self._at += 1
        self._expect("IN")
        query = self._until("DO")
        self._expect("DO")
        body = self._body(("END",))
        self._expect("END", "FOR")
        return ForEach(variable, query, body)

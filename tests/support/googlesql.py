"""Google's own SQL parser, as an oracle: GoogleSQL in WebAssembly, from the package `zetasql`.

Its compilation takes most of a minute. `make setup-dev` runs this file, which keeps the compiled
module next to the environment's packages; without it the first use compiles.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from wasmtime import Engine, Module, WasmtimeError


class SyntaxViolationError(Exception):
    """Raised when GoogleSQL does not parse a script."""


def parse_script(sql: str) -> None:
    """Parse one or several statements.

    Raises:
        SyntaxViolationError: with GoogleSQL's message.
    """
    parser, options, error = _load_parser()
    try:
        parser.parse_script_static(sql, options)
    except error as exc:
        raise SyntaxViolationError(f"{exc}\n{sql}") from None


@cache
def _load_parser() -> tuple[Any, Any, type[Exception]]:
    from zetasql.core import wasm_client

    wasm_client.Module = SimpleNamespace(from_file=_load_module)
    from zetasql.api import Parser
    from zetasql.core.exceptions import ServerError
    from zetasql.types import LanguageOptions

    return Parser, LanguageOptions.maximum_features(), ServerError


def _load_module(engine: Engine, path: str) -> Module:
    names = f"zetasql-{version('zetasql')}-wasmtime-{version('wasmtime')}.cwasm"
    compiled = Path(sys.prefix) / names
    if compiled.exists():
        try:
            return Module.deserialize_file(engine, str(compiled))
        except WasmtimeError:
            # Compiled for another processor.
            compiled.unlink()
    module = Module.from_file(engine, path)
    fresh = compiled.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(module.serialize())
    fresh.replace(compiled)
    return module


if __name__ == "__main__":
    parse_script("SELECT 1")

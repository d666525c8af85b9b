"""What it costs to open a store whose tables are current."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Engine,
    event,
)

from convergence.settings import PROJECT_ROOT
from convergence.state.schema.preparation import VERSION_TABLE
from convergence.state.store import StateStore
from stack import guarded


def test_a_current_store_costs_one_select(state_url: str) -> None:
    StateStore.connect(state_url).close()
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        StateStore.connect(state_url).close()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    own = [statement for statement in seen if VERSION_TABLE in statement]
    assert len(own) == 1
    assert not [s for s in seen if s.startswith(("INSERT", "CREATE", "BEGIN IMMEDIATE"))]


def test_neither_a_new_nor_a_current_store_imports_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from convergence.state.store import StateStore;"
        "StateStore.connect(sys.argv[1]).close(); StateStore.connect(sys.argv[1]).close();"
        "sys.exit(any(name.partition('.')[0] == 'alembic' for name in sys.modules))"
    )
    url = f"sqlite:///{tmp_path}/state.db"
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "plugins")}
    done = guarded.run([sys.executable, "-c", code, url], env=environment, timeout=60)
    assert done.returncode == 0, done.stderr

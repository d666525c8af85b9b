"""`make state-revision MESSAGE=…`: write the revision between the newest one and `tables.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from convergence.state.migrations.upgrade import VERSIONS, alembic_config


def main(arguments: list[str] | None = None) -> int:
    """Write the next revision file and print its path."""
    parser = argparse.ArgumentParser(prog="make state-revision", description=__doc__)
    parser.add_argument("message", help="what the revision does, such as 'rename a table'")
    message = parser.parse_args(arguments).message
    print(write_revision(message))  # noqa: T201  # a command line's output
    return 0


def write_revision(message: str, *, versions: Path = VERSIONS) -> Path:
    """Write the next revision into `versions`, compared with `tables.py`, and return its path."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as conn:
            config = alembic_config(conn, versions=versions)
            head = ScriptDirectory.from_config(config).get_current_head()
            command.upgrade(config, "head")
            number = f"{int(head or 0) + 1:04}"
            script = command.revision(config, message, autogenerate=True, rev_id=number)
    finally:
        engine.dispose()
    written = script[0] if isinstance(script, list) else script
    if written is None:
        raise RuntimeError("Alembic wrote no revision")
    return Path(written.path)


if __name__ == "__main__":
    raise SystemExit(main())

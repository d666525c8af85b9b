"""The store's tables change by revisions: with data, once, wholly or not at all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    String,
    Table,
    inspect,
    text,
)

from convergence.errors import StateStoreVersionError
from convergence.state import attempts, cache_versions, org_runs, unannounced_runs
from convergence.state.migrations import upgrade
from convergence.state.migrations.__main__ import write_revision
from convergence.state.migrations.versions.r0001_baseline import BASELINE
from convergence.state.schema import preparation as schema
from convergence.state.schema.preparation import HEAD_REVISION, VERSION_TABLE
from convergence.state.schema.tables import metadata
from convergence.state.store import StateStore
from integration.state.state_workers import build_run, open_with_revisions

PROCESSES = multiprocessing.get_context("forkserver")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEXT = "9999"
RENAMES = """
from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.rename_table("slice_attempts", "attempts_of_slices")
    with op.batch_alter_table("attempts_of_slices") as batch:
        batch.add_column(sa.Column("source", sa.String(16), nullable=False, server_default="old"))
        batch.alter_column("attempt", new_column_name="number")
    op.execute("UPDATE attempts_of_slices SET number = number + 1")
    {then}
"""


@pytest.fixture
def engine(state_url: str) -> Iterator[Engine]:
    """The database as an administrator's tool sees it."""
    store = StateStore.connect(state_url)
    with store.begin() as conn:
        metadata.drop_all(conn)
        conn.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    yield store._writer
    store.close()


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """The project's revisions, and room for one more."""
    folder = tmp_path / "versions"
    shutil.copytree(upgrade.VERSIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def make_unversioned_store(engine: Engine) -> None:
    """Leave what a release without revisions leaves: its tables, one row in each."""
    with engine.begin() as conn:
        BASELINE.create_all(conn)
        for table in BASELINE.sorted_tables:
            row = {column.name: sample(column) for column in table.columns}
            conn.execute(table.insert().values(row))
        conn.execute(text("UPDATE state_meta SET name = 'schema', value = 'a digest'"))


def sample(column: Column[Any]) -> Any:
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, DateTime):
        return NOW
    if isinstance(column.type, JSON):
        return {"days": ["2026-11-20"]}
    if isinstance(column.type, String):
        return column.name[:16]
    return 7


def rows(engine: Engine, table: str) -> list[tuple[Any, ...]]:
    with engine.begin() as conn:
        return [tuple(row) for row in conn.execute(text(f"SELECT * FROM {table}"))]


def row_count(engine: Engine) -> int:
    with engine.begin() as conn:
        names = set(inspect(conn).get_table_names()) - {VERSION_TABLE}
        return sum(
            conn.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names
        )


def revision_of(engine: Engine) -> str | None:
    with engine.begin() as conn:
        return schema.recorded_revision(conn)


def differences(engine: Engine) -> list[Any]:
    with engine.begin() as conn:
        options = {"version_table": VERSION_TABLE, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(conn, opts=options), metadata))


@contextmanager
def revisions(folder: Path, *, head: str = NEXT) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upgrade, "VERSIONS", folder)
        patch.setattr(schema, "HEAD_REVISION", head)
        yield


def add_revision(versions: Path, *, then: str = "pass") -> None:
    source = RENAMES.format(head=HEAD_REVISION, then=then)
    (versions / "r9999_rename.py").write_text(source, encoding="utf-8")


# --- the chain ----------------------------------------------------------------------------------


def test_the_revisions_are_one_chain_that_ends_where_the_code_is(tmp_path: Path) -> None:
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    with store.begin() as conn:
        scripts = ScriptDirectory.from_config(upgrade.alembic_config(conn))
    store.close()
    assert scripts.get_heads() == [HEAD_REVISION]
    parents = [script.down_revision for script in scripts.walk_revisions()]
    assert all(parent is None or isinstance(parent, str) for parent in parents)
    assert len(parents) == len(set(parents)) == len(list(upgrade.VERSIONS.glob("r*.py")))


def test_a_migrated_store_has_the_tables_of_the_code(engine: Engine, state_url: str) -> None:
    make_unversioned_store(engine)
    StateStore.connect(state_url).close()
    assert revision_of(engine) == HEAD_REVISION
    assert differences(engine) == []


def test_a_new_store_has_them_and_its_revision(engine: Engine, state_url: str) -> None:
    StateStore.connect(state_url).close()
    assert revision_of(engine) == HEAD_REVISION
    assert differences(engine) == []


def test_the_comparison_sees_a_column_too_few(engine: Engine, state_url: str) -> None:
    StateStore.connect(state_url).close()
    with engine.begin() as conn:
        conn.execute(text("ALTER TABLE outbox DROP COLUMN rejection"))
    assert differences(engine) != []


# --- data ---------------------------------------------------------------------------------------


def test_a_store_without_revision_keeps_every_row(engine: Engine, state_url: str) -> None:
    make_unversioned_store(engine)
    before = row_count(engine)
    store = StateStore.connect(state_url)
    assert row_count(engine) == before == len(BASELINE.sorted_tables)
    with store.begin() as conn:
        assert attempts.next_attempt(conn, "slice_id") == 8
        org_runs.insert_run(conn, build_run(1))
    store.close()


def test_a_revision_moves_the_data_with_the_table(
    engine: Engine, state_url: str, versions: Path
) -> None:
    make_unversioned_store(engine)
    add_revision(versions)
    with revisions(versions):
        StateStore.connect(state_url).close()
    assert revision_of(engine) == NEXT
    with engine.begin() as conn:
        moved = conn.execute(text("SELECT slice_id, number, source FROM attempts_of_slices"))
        assert moved.all() == [("slice_id", 8, "old")]
        assert not inspect(conn).has_table("slice_attempts")


def test_renamed_tables_and_columns_keep_their_rows(engine: Engine, state_url: str) -> None:
    make_unversioned_store(engine)
    StateStore.connect(state_url).close()
    with engine.begin() as conn:
        tables = set(inspect(conn).get_table_names())
        assert not tables & {"org_epochs", "left_open_runs"}
        versions = conn.execute(text("SELECT org_slug, version FROM cache_versions"))
        assert versions.all() == [("org_slug", 7)]
        noted = conn.execute(text("SELECT dag_id, dag_run_id FROM unannounced_runs"))
        assert noted.all() == [("dag_id", "dag_run_id")]
        assert conn.execute(text("SELECT rejection FROM outbox")).scalars().all() == ["refusal"]


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_a_store_of_each_earlier_revision_is_migrated_with_its_rows(
    engine: Engine, state_url: str, revision: str
) -> None:
    make_unversioned_store(engine)
    with engine.begin() as conn:
        upgrade.upgrade_store(conn, revision=None, target=revision)
    before = row_count(engine)
    assert revision_of(engine) == revision
    store = StateStore.connect(state_url)
    assert (revision_of(engine), row_count(engine)) == (HEAD_REVISION, before)
    assert differences(engine) == []
    with store.begin() as conn:
        assert cache_versions.read_version(conn, "org_slug") == 7
        assert len(unannounced_runs.list_unannounced(conn, limit=9)) == 1
    store.close()


def test_what_an_older_release_left_narrow_is_widened_first(engine: Engine, state_url: str) -> None:
    make_unversioned_store(engine)
    with engine.begin() as conn:
        conn.execute(text("ALTER TABLE outbox DROP COLUMN refusal"))
        conn.execute(text("DROP TABLE idempotency_keys"))
        conn.execute(text("DROP INDEX org_runs_ended"))
    StateStore.connect(state_url).close()
    assert differences(engine) == []
    assert len(rows(engine, "outbox")) == 1


def test_the_version_table_of_another_program_in_the_schema_stays(
    engine: Engine, state_url: str
) -> None:
    make_unversioned_store(engine)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        conn.execute(text("INSERT INTO alembic_version VALUES ('82dbd68e6171')"))
    StateStore.connect(state_url).close()
    assert rows(engine, "alembic_version") == [("82dbd68e6171",)]


# --- refused ------------------------------------------------------------------------------------


def test_a_newer_store_is_refused_and_left_alone(engine: Engine, state_url: str) -> None:
    StateStore.connect(state_url).close()
    with engine.begin() as conn:
        conn.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9998'"))
    with pytest.raises(StateStoreVersionError, match=r"newer version.*9998.*" + HEAD_REVISION):
        StateStore.connect(state_url)
    assert revision_of(engine) == "9998"
    assert differences(engine) == []


def test_a_store_with_foreign_columns_is_refused(engine: Engine, state_url: str) -> None:
    make_unversioned_store(engine)
    with engine.begin() as conn:
        conn.execute(text("ALTER TABLE leases ADD COLUMN tenant VARCHAR(8)"))
    with pytest.raises(StateStoreVersionError, match=r"leases\.tenant"):
        StateStore.connect(state_url)
    assert revision_of(engine) is None


def test_a_database_with_tables_of_our_names_is_refused(engine: Engine, state_url: str) -> None:
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE leases (flat VARCHAR(8))"))
    with pytest.raises(StateStoreVersionError, match="a database or a schema of its own"):
        StateStore.connect(state_url)
    with engine.begin() as conn:
        assert inspect(conn).get_table_names() == ["leases"]


# --- many processes, and ones that die ----------------------------------------------------------


def test_of_ten_processes_that_start_at_once_one_migrates(
    engine: Engine, state_url: str, versions: Path
) -> None:
    make_unversioned_store(engine)
    add_revision(versions, then="time.sleep(0.3)")  # +1 to each attempt, every time that it runs
    with ProcessPoolExecutor(10, mp_context=PROCESSES) as executor:
        opened = list(
            executor.map(partial(open_with_revisions, state_url, str(versions), NEXT), range(10))
        )
    assert opened == [NEXT] * 10
    assert [row[1] for row in rows(engine, "attempts_of_slices")] == [8]


def test_a_migration_that_is_killed_leaves_the_store_as_it_was(
    engine: Engine, state_url: str, versions: Path, tmp_path: Path
) -> None:
    make_unversioned_store(engine)
    reached = tmp_path / "reached"
    add_revision(versions, then=f"Path({str(reached)!r}).touch(); time.sleep(60)")
    process = PROCESSES.Process(
        target=open_with_revisions, args=(state_url, str(versions), NEXT, 0), daemon=True
    )
    process.start()
    deadline = time.monotonic() + 30
    while not reached.exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=10)

    assert revision_of(engine) is None
    assert [row[1] for row in rows(engine, "slice_attempts")] == [7]
    add_revision(versions)
    with revisions(versions):
        StateStore.connect(state_url).close()
    assert [row[1] for row in rows(engine, "attempts_of_slices")] == [8]


def test_a_revision_that_fails_leaves_the_store_as_it_was(
    engine: Engine, state_url: str, versions: Path
) -> None:
    make_unversioned_store(engine)
    add_revision(versions, then="raise RuntimeError('a mistake in the revision')")
    with revisions(versions), pytest.raises(RuntimeError, match="a mistake"):
        StateStore.connect(state_url)
    assert revision_of(engine) is None
    assert [row[1] for row in rows(engine, "slice_attempts")] == [7]


# --- writing revisions --------------------------------------------------------------------------


def test_a_revision_is_written_from_what_the_tables_gained(versions: Path) -> None:
    assert "    pass\n" in write_revision("nothing new", versions=versions).read_text()
    (versions / f"r{int(HEAD_REVISION) + 1:04}_nothing_new.py").unlink()
    extra = Table("extra", metadata, Column("name", Integer, primary_key=True))
    try:
        path = write_revision("Add extra", versions=versions)
    finally:
        metadata.remove(extra)
    assert path.name == f"r{int(HEAD_REVISION) + 1:04}_add_extra.py"
    written = path.read_text()
    assert "create_table('extra'" in written.replace('"', "'").replace("(\n    ", "(")
    assert f"down_revision: str | None = {HEAD_REVISION!r}" in written

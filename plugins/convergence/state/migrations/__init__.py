"""The revisions of the state store's tables, one linear chain, run by Alembic.

To change a table:

1. Change `convergence/state/schema/tables.py`.
2. Run `make state-revision MESSAGE="rename a table"`. It compares the tables with the newest
   revision and writes `versions/rNNNN_….py` with what it found. Alembic sees a rename as a drop
   and an add: write those by hand (`op.rename_table`), and move the data in the same revision.
   Alter columns inside `op.batch_alter_table`, which SQLite needs.
3. Set `HEAD_REVISION` in `convergence/state/schema/preparation.py` to the new revision.
4. Run `pytest tests/integration/state/test_state_migrations.py`. It compares the migrated tables
   with `tables.py` on SQLite and PostgreSQL.

A revision imports nothing from `convergence`: the code moves on, a revision stays as it is. It
runs in one transaction with all others that are due, so it never commits and never builds an
index concurrently. There is no downgrade: to go back, restore the store from a backup, or start
with an empty one and run `make restore-state`.
"""

"""`python -m convergence.tenants.audit_verify [ORG…]`: verify the audit log of each org.

Prints the first broken link of each chain: an entry that was changed, deleted, moved, added, or
cut off at the end. Exits 1 when there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from convergence.errors import ConvergenceError
from convergence.settings import get_settings
from convergence.state import audit_heads, outbox
from convergence.state.store import StateStore
from convergence.tenants.audit import AUDIT_LOG
from convergence.tenants.audit_chain import ChainBreak, ChainHead, find_first_break
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file

_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


def verify_chains(
    store: StateStore, warehouse: Warehouse, *, orgs: Sequence[str] = ()
) -> dict[str, ChainBreak | None]:
    """Return the first break of each org's chain, by org; None for a whole chain.

    Entries that wait to be shipped count as written.

    Args:
        store: where the heads and the waiting entries are.
        warehouse: where the log is.
        orgs: only these; every org that has a head or an entry when not given.
    """
    # Heads first: what is appended or shipped while we read lies beyond them, or is seen twice.
    with store.read() as conn:
        heads = {org: ChainHead(*head) for org, head in audit_heads.read_heads(conn).items()}
        waiting = outbox.list_waiting_rows(conn, AUDIT_LOG)
    path = warehouse.sql("tenants/audit_chain.sql")
    known = run_file(
        warehouse, warehouse.sql("tenants/audit_orgs.sql"), params={"since": _BEGINNING}
    )
    checked = orgs or sorted({*heads, *(row["org_slug"] for row in known)})
    found: dict[str, ChainBreak | None] = {}
    for org in checked:
        params = {"org_slug": org, "since": _BEGINNING}
        logged: list[dict[str, Any]] = run_file(warehouse, path, params=params)
        logged += [row for row in waiting if row["org_slug"] == org]
        found[org] = _find_break(org, logged, heads.get(org))
    return found


def _find_break(
    org: str, entries: Sequence[dict[str, Any]], head: ChainHead | None
) -> ChainBreak | None:
    if head is None and entries:
        reason = "the state store keeps no head for this log; if it was lost: make restore-state"
        return ChainBreak(org, 0, None, reason)
    return find_first_break(org, entries, head=head or ChainHead())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per org; return 1 when a chain is broken, 2 when the log can't be read."""
    parser = argparse.ArgumentParser(prog="audit-verify", description=__doc__)
    parser.add_argument("orgs", nargs="*", metavar="ORG", help="only these organizations")
    options = parser.parse_args(arguments)
    settings = get_settings()
    try:
        store = StateStore.connect(settings.state_url)
        found = verify_chains(store, Warehouse.connect(settings), orgs=options.orgs)
    except ConvergenceError as error:
        sys.stderr.write(f"the audit log can't be read: {error}\n")
        return 2
    for org, broken in found.items():
        sys.stdout.write(f"{broken or f'{org}: holds'}\n")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

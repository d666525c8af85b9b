"""Print an org's key in clear, for support, audited: `make reveal-key`.

For a customer who lost its key and can't use a new one. The org's audit log has the operator and
the reason before the key is decrypted, and the success before the key is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from convergence.errors import ConvergenceError, DecryptionError, NotFoundError, RequestError
from convergence.security.keys import check_slug, compare_digests, compute_digest
from convergence.security.kms import KeyManager, api_key_aad, connect_kms
from convergence.security.redaction import redact, register_secret
from convergence.settings import get_settings
from convergence.state.store import StateStore
from convergence.tenants import audit, orgs
from convergence.tenants.audit import Actor, AuditedAction, AuditResult, audit_change
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file

MIN_REASON_CHARS = 10
MAX_TEXT_CHARS = 500
_ACTION = "api_key.reveal"


def reveal_key(
    store: StateStore,
    warehouse: Warehouse,
    kms: KeyManager,
    *,
    org_slug: str,
    key_id: str,
    operator: str,
    reason: str,
    now: datetime,
) -> str:
    """Return an active key of an org in plaintext; later logs of this process mask it.

    Args:
        store: where the audit is kept.
        warehouse: where the key's ciphertext is.
        kms: the key; this process needs to decrypt with it.
        org_slug: whose key.
        key_id: which key.
        operator: the person who asks.
        reason: why, such as a ticket; at least ten characters.
        now: the instant.

    Raises:
        RequestError: nobody is named, or no reason is given.
        NotFoundError: there is no such org, or it has no such active key.
        StateUnavailableError: it can't be audited, so it is not done.
        DecryptionError: the ciphertext is not this key's.
    """
    operator, reason = (
        _check_text("operator", operator, 2),
        _check_text("reason", reason, MIN_REASON_CHARS),
    )
    orgs.get_org(warehouse, check_slug(org_slug))
    act = AuditedAction(org_slug, Actor("system", f"operator:{operator}"), _ACTION, key_id)
    details = {"reason": reason}
    params = {"org_slug": org_slug, "key_id": key_id, "now": now}
    rows = run_file(warehouse, warehouse.sql("tenants/key_open.sql"), params=params)
    if not rows:
        with store.begin() as conn:
            audit.append_entry(conn, act, result=AuditResult.REFUSED, now=now, details=details)
        raise NotFoundError("The organization has no such active key")
    with audit_change(store, act, now=now, details=details):
        return _decrypt_key(rows[0], kms, aad=api_key_aad(org_slug, key_id))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the key to the terminal, alone and once; 1 when it can't be had."""
    options = _build_parser().parse_args(arguments)
    if not (options.pipe or sys.stdout.isatty()):
        sys.stderr.write(
            "refused: the output is not a terminal, and a key must not be stored in a file\n"
        )
        return 1
    settings = get_settings()
    try:
        store = StateStore.connect(settings.state_url)
        with connect_kms(settings) as kms:
            secret = reveal_key(
                store,
                Warehouse.connect(settings),
                kms,
                org_slug=options.org,
                key_id=options.key_id,
                operator=options.operator,
                reason=options.reason,
                now=datetime.now(UTC),
            )
    except ConvergenceError as error:
        sys.stderr.write(f"refused: {redact(str(error))}\n")
        return 1
    sys.stderr.write(f"{options.key_id} of {options.org}; the organization's audit log says so:\n")
    sys.stdout.write(f"{secret}\n")
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="reveal-key", description=__doc__)
    parser.add_argument("--org", required=True, help="whose key")
    parser.add_argument("--key-id", required=True, help="which key, as its list names it")
    parser.add_argument("--operator", required=True, help="who asks: your name")
    parser.add_argument("--reason", required=True, help="why, such as a ticket")
    parser.add_argument(
        "--pipe", action="store_true", help="print even if the output is not a terminal"
    )
    return parser


def _check_text(name: str, text: str, at_least: int) -> str:
    said = " ".join(text.split())
    if not (at_least <= len(said) <= MAX_TEXT_CHARS and said.isprintable()):
        raise RequestError(f"{name}: {at_least} to {MAX_TEXT_CHARS} characters are needed")
    return said


def _decrypt_key(row: Row, kms: KeyManager, *, aad: bytes) -> str:
    secret = kms.decrypt(row["key_ciphertext"], aad=aad).decode()
    register_secret(secret)
    if not compare_digests(compute_digest(secret), row["key_hash"]):
        raise DecryptionError("The ciphertext holds another key than the row's digest")
    return secret


if __name__ == "__main__":
    sys.exit(main())

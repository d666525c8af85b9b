"""Re-encrypt all with the newest key version: `make rotate-kms`.

The newest version is the key's primary one; `--new-version` creates one first. A run that was
killed continues when it is started again. Exits 1 when a ciphertext could not be re-encrypted, 2
when a service did not respond.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from convergence.errors import ConvergenceError
from convergence.security.kms import KeyManager, connect_kms
from convergence.security.redaction import redact
from convergence.settings import get_settings
from convergence.state.store import StateStore
from convergence.tenants.audit import Actor
from convergence.tenants.encryption import kms_register
from convergence.tenants.encryption.reencryption import OrgReencryption, ReencryptionPass
from convergence.warehouse.client import Warehouse

BY = Actor("system", "rotate_kms")


@dataclass
class _Progress:
    """Counts and prints the progress, org by org."""

    outdated: Mapping[str, int]
    orgs: int = 0
    ciphertexts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, outcome: OrgReencryption) -> None:
        with self._lock:
            self.orgs += 1
            self.ciphertexts += outcome.moved
            done = f"{self.orgs} of {len(self.outdated)} organizations"
            rows = f"{self.ciphertexts} of {sum(self.outdated.values())} ciphertexts"
            _print_line(f"{done}, {rows}: {outcome.org_slug}")
            if outcome.changed:
                _print_line(f"  {outcome.changed} changed meanwhile and are as they were made")
            for one in outcome.unreadable:
                _print_line(f"  {one} does not decrypt for its owner and was left as it is")


def rotate_ciphertexts(
    store: StateStore, warehouse: Warehouse, kms: KeyManager, *, now: datetime
) -> bool:
    """Re-encrypt all ciphertexts with the primary version, repair the register, print progress.

    Returns:
        Whether all ciphertexts are under the primary version.

    Raises:
        ConvergenceError: a service does not respond; run it again for the rest.
    """
    work = ReencryptionPass(
        store=store, warehouse=warehouse, kms=kms, version=kms.get_primary_version(), by=BY
    )
    outdated = work.count_outdated()
    _print_line(
        f"to {work.version}: {sum(outdated.values())} ciphertexts of {len(outdated)} organizations"
    )
    outcomes = work.reencrypt_orgs(sorted(outdated), now=now, report=_Progress(outdated))
    repaired = kms_register.repair_register(store, warehouse, now=now)
    if repaired:
        _print_line(f"{repaired} rows of the register were repaired")
    _print_versions(warehouse, newest=work.version)
    return not any(outcome.unreadable for outcome in outcomes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rotate, with visible progress."""
    parser = argparse.ArgumentParser(prog="rotate-kms", description=__doc__)
    parser.add_argument(
        "--new-version", action="store_true", help="make a new key version the primary one first"
    )
    options = parser.parse_args(arguments)
    settings = get_settings()
    try:
        store = StateStore.connect(settings.state_url)
        with connect_kms(settings) as kms:
            if options.new_version:
                _print_line(f"made {kms.create_version()}")
            done = rotate_ciphertexts(
                store, Warehouse.connect(settings), kms, now=datetime.now(UTC)
            )
    except ConvergenceError as error:
        sys.stderr.write(f"not finished, run it again: {redact(str(error))}\n")
        return 2
    return 0 if done else 1


def _print_versions(warehouse: Warehouse, *, newest: str) -> None:
    counts: dict[str, int] = {}
    for one in kms_register.list_protected(warehouse):
        version = one.kms_key_version
        counts[version] = counts.get(version, 0) + len(one.ids)
    for version, count in sorted(counts.items()):
        _print_line(f"{version or 'an unknown version'} protects {count}")
    if set(counts) <= {newest}:
        _print_line("every other version may be disabled once backups and time travel have run out")


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The hash chain of an org's audit entries: what each entry's hash covers, and where one breaks.

An entry's hash is SHA-256 over its fields in a fixed order, each with its length before it so
that no two entries can be written alike, and the hash of the entry before it. The head of the
chain is kept in the state store, apart from the log: a log cut at its end no longer reaches it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64

_FIELDS = (
    "org_slug",
    "audit_id",
    "occurred_at",
    "actor",
    "actor_type",
    "action",
    "target",
    "result",
    "request_id",
    "address",
    "details",
    "sequence",
    "previous_hash",
)

AuditEntry = Mapping[str, Any]


@dataclass(frozen=True)
class ChainHead:
    """The newest entry of an org's chain: its place, from 1, and its hash."""

    sequence: int = 0
    entry_hash: str = GENESIS


@dataclass(frozen=True)
class ChainBreak:
    """The first place where a chain does not hold, and what is wrong there."""

    org_slug: str
    sequence: int
    audit_id: str | None
    reason: str

    def __str__(self) -> str:
        which = f" ({self.audit_id})" if self.audit_id else ""
        return f"{self.org_slug}: entry {self.sequence}{which}: {self.reason}"


def hash_entry(entry: AuditEntry) -> str:
    """Compute the hash of an entry from its fields, as written or as the warehouse returns them."""
    sha = hashlib.sha256()
    for name in _FIELDS:
        value = _encode_field(name, entry.get(name))
        # No value and an empty one must not look alike.
        sha.update(b"-;" if value is None else b"%d:%s;" % (len(value), value))
    return sha.hexdigest()


def encode_canonical_json(details: Mapping[str, Any]) -> str:
    """Encode details for storage and hash; the warehouse keeps only the content."""
    return json.dumps(details, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def format_canonical_time(moment: datetime) -> str:
    """Format an instant with microseconds, in UTC."""
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def find_first_break(
    org_slug: str, entries: Iterable[AuditEntry], *, head: ChainHead
) -> ChainBreak | None:
    """Return the first broken link of an org's chain, or None when it is whole.

    Args:
        org_slug: the org.
        entries: its entries in any order; equal ones delivered twice count once.
        head: where the chain must end; entries after it were added since it was read.
    """
    links: dict[int, AuditEntry] = {}
    for entry in entries:
        place = entry.get("sequence")
        if place is None:
            return ChainBreak(org_slug, 0, entry.get("audit_id"), "has no sequence")
        if place > head.sequence:
            continue
        twin = links.setdefault(place, entry)
        if hash_entry(twin) != hash_entry(entry):
            return ChainBreak(
                org_slug, place, entry.get("audit_id"), "two entries have this sequence"
            )
    before = GENESIS
    for place in range(1, head.sequence + 1):
        link = links.get(place)
        if link is None:
            cut = not any(later > place for later in links)
            reason = "missing: the log ends before its head" if cut else "missing"
            return ChainBreak(org_slug, place, None, reason)
        if violation := _check_link(link, before):
            return ChainBreak(org_slug, place, link.get("audit_id"), violation)
        before = str(link["entry_hash"])
    if before != head.entry_hash:
        return ChainBreak(org_slug, head.sequence, None, "its hash does not match the chain's head")
    return None


def _check_link(link: AuditEntry, before: str) -> str | None:
    if hash_entry(link) != link.get("entry_hash"):
        return "its hash does not match its fields"
    if link.get("previous_hash") != before:
        return "its previous_hash does not match the entry before it"
    return None


def _encode_field(name: str, value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return format_canonical_time(value).encode()
    if name == "details":
        parsed = json.loads(value) if isinstance(value, str) else value
        return encode_canonical_json(parsed).encode()  # type: ignore[arg-type]  # JSON of ours is an object
    return str(value).encode()

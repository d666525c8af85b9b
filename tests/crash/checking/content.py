"""What a table's day holds, and how it differs from the complete versions that may be seen."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from google.cloud import bigquery

from convergence.settings import PROJECT_ROOT

Day = str
Rows = Counter[str]
"""Each distinct row as text, and how often it is there."""
Content = dict[Day, Rows]
Verdict = Literal["lost", "doubled", "mixed", "stale"]
EMPTY: Rows = Counter()
STREAM_SCHEMA = PROJECT_ROOT / "include/configs/system/schemas/authoritative_daily.json"
NAMES_OF_A_RUN = {"BillingAccountId", "x_RunId", "x_OrgSlug", "x_Finality"}
"""Columns of a stream's table that name the org, the run and the history, and not the cost."""


@cache
def find_columns(table: str) -> tuple[int, frozenset[int]]:
    """Return the place of a table's day, and of the columns that are not compared."""
    if not table.endswith("_authoritative_daily"):
        return 0, frozenset()  # the day is the first column of each other table
    names = [field["name"] for field in json.loads(STREAM_SCHEMA.read_text())["fields"]]
    ignored = frozenset(names.index(name) for name in NAMES_OF_A_RUN)
    return names.index("x_UsageDate"), ignored


def read(client: bigquery.Client, dataset: str, table: str) -> Content:
    """All rows of a table by day, in one request: one snapshot.

    The rows are as the API sends them: comparing needs no types, and polling no CPU.
    """
    path = f"/projects/{client.project}/datasets/{dataset}/tables/{table}/data"
    reply: Mapping[str, Any] = client._connection.api_request(method="GET", path=path)
    if "pageToken" in reply:
        raise AssertionError(f"{table} did not fit one page")
    content: defaultdict[Day, Rows] = defaultdict(Counter)
    day, ignored = find_columns(table)
    for row in reply.get("rows", ()):
        values = [cell for at, cell in enumerate(row["f"]) if at not in ignored]
        content[row["f"][day]["v"]][json.dumps(values)] += 1
    return dict(content)


@dataclass(frozen=True)
class Difference:
    """How one day of one table is not what it may be."""

    table: str
    day: Day
    verdict: Verdict
    rows: int
    expected: int

    def __str__(self) -> str:
        return (
            f"{self.verdict}: {self.table} {self.day} has {self.rows} rows, expected"
            f" {self.expected}"
        )


def classify(
    table: str,
    day: Day,
    found: Rows,
    versions: Collection[Rows],
    *,
    others: Collection[Rows] = (),
) -> Difference | None:
    """What is wrong with a day that must be one of these versions; None when it is one.

    `stale`: it is another complete version, one of `others`; `lost`: rows of the nearest version
    are missing; `doubled`: a row is there more often than in any version; `mixed`: rows of
    several versions.
    """
    if any(found == version for version in versions):
        return None
    known = [*versions, *others]
    nearest = max(known, key=lambda version: ((found & version).total(), -version.total()))
    expected = max(versions, key=lambda version: (found & version).total())
    verdict: Verdict
    if not found:
        verdict = "lost"
    elif found in known:
        verdict = "stale"
    elif any(count > max(version[row] for version in known) > 0 for row, count in found.items()):
        verdict = "doubled"
    elif found.total() > (found & nearest).total():
        verdict = "mixed"
    else:
        verdict = "lost"
    return Difference(table, day, verdict, found.total(), expected.total())

"""Compute places of an export in its bucket and parse its file names: pure.

https://docs.aws.amazon.com/cur/latest/userguide/dataexports-export-delivery.html:

    {prefix}/{export}/data/BILLING_PERIOD=2026-11/{export}-00001.csv.gz          overwritten, or
    {prefix}/{export}/data/BILLING_PERIOD=2026-11/{execution}/{export}-00001.…   each delivery kept
    {prefix}/{export}/metadata/BILLING_PERIOD=2026-11/{export}-Manifest.json     written last
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Self

from convergence.errors import RequestError
from convergence.processors.aws.columns import Kind

PARAMS: Final = ("bucket", "export_name")
"""Params that locate the export; both are required."""
_PERIOD: Final = re.compile(r"BILLING_PERIOD=(\d{4})-(0[1-9]|1[0-2])/(.+)", re.IGNORECASE)
_CSV, _PARQUET = ".csv.gz", ".parquet"


@dataclass(frozen=True, slots=True, order=True)
class File:
    """An object of the bucket."""

    key: str
    etag: str
    size: int
    modified_at: datetime

    @property
    def is_parquet(self) -> bool:
        """Parquet, or else CSV."""
        return self.key.endswith(_PARQUET)


@dataclass(frozen=True, slots=True)
class Export:
    """An export and where it is delivered."""

    bucket: str
    prefix: str
    name: str
    region: str
    kind: Kind

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """Build the export from a run's params, which the pipeline has checked.

        Raises:
            RequestError: it is not named.
        """
        if missing := [name for name in PARAMS if not params.get(name)]:
            raise RequestError(
                "The place of the organization's export is not configured: "
                "set the pipeline's params",
                missing=missing,
            )
        return cls(
            bucket=params["bucket"],
            prefix=str(params.get("prefix") or "").strip("/"),
            name=params["export_name"],
            region=params.get("region") or "us-east-1",
            kind=params.get("kind") or "cur2",
        )

    @property
    def root(self) -> str:
        """Prefix of every key of the export."""
        return "/".join(part for part in (self.prefix, self.name) if part) + "/"

    @property
    def data_prefix(self) -> str:
        """Prefix of the key of every data file."""
        return f"{self.root}data/"

    def manifest_key(self, first: date) -> str:
        """Return the key of the manifest of the period that begins on a day."""
        return f"{self.root}metadata/BILLING_PERIOD={first:%Y-%m}/{self.name}-Manifest.json"

    def period_prefix(self, first: date) -> str:
        """Return the prefix of the period's data files."""
        return f"{self.data_prefix}BILLING_PERIOD={first:%Y-%m}/"

    def url(self, key: str) -> str:
        """Return the `s3://` URL of a key."""
        return f"s3://{self.bucket}/{key}"


@dataclass(frozen=True, slots=True)
class Period:
    """A billing period's data files, of every delivery that is kept.

    Attributes:
        first: the period's first day.
        files: sorted by key.
    """

    first: date
    files: tuple[File, ...]

    @property
    def last(self) -> date:
        """The period's last day."""
        return self.first.replace(day=monthrange(self.first.year, self.first.month)[1])

    def holds(self, day: date) -> bool:
        """Return whether a day is in the period."""
        return self.first <= day <= self.last

    def rows(self, kind: Kind, *, revision: int) -> list[dict[str, Any]]:
        """Build rows of `aws_export_files`; equal rows mean that no file was rewritten."""
        return [
            {
                "billing_period": self.first.isoformat(),
                "key": file.key,
                "etag": file.etag,
                "size_bytes": file.size,
                "modified_at": file.modified_at.isoformat(),
                "kind": kind,
                "revision": revision,
            }
            for file in self.files
        ]

    def delivered(self, named: Sequence[str] | None) -> tuple[File, ...]:
        """Return the files of the newest delivery.

        Args:
            named: the keys that the manifest names; None when there is no manifest, and the
                delivery that was modified last is taken.

        Raises:
            KeyError: a named file is not there.
        """
        if named is not None:
            found = {file.key: file for file in self.files}
            return tuple(found[key] for key in sorted(set(named)))
        deliveries: dict[str, list[File]] = defaultdict(list)
        for file in self.files:
            deliveries[file.key.rpartition("/")[0]].append(file)
        newest = max(deliveries, key=lambda at: (max(f.modified_at for f in deliveries[at]), at))
        return tuple(deliveries[newest])


@dataclass(frozen=True, slots=True)
class Found:
    """Files under an export's `data/`."""

    periods: dict[date, Period] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    """Keys of files that do not belong to the export; they are not read."""


def sort_out(export: Export, files: Iterable[File]) -> Found:
    """Sort the export's files by period and separate foreign files."""
    name = re.escape(export.name)
    data = re.compile(rf"(?:[^/]+/)?{name}-\d+(?:{re.escape(_CSV)}|(?:\.snappy)?{_PARQUET})")
    periods: dict[date, list[File]] = defaultdict(list)
    foreign: list[str] = []
    for file in files:
        matched = _PERIOD.fullmatch(file.key.removeprefix(export.data_prefix))
        if matched and data.fullmatch(matched[3]):
            periods[date(int(matched[1]), int(matched[2]), 1)].append(file)
        elif not file.key.endswith("/"):
            foreign.append(file.key)
    found = {first: Period(first, tuple(sorted(files))) for first, files in periods.items()}
    return Found(found, tuple(sorted(foreign)))

"""Configuration of the AWS step."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from convergence.processors.lib.daily.guarded_config import GuardedConfig
from convergence.processors.lib.field_types import SchemaFile, SqlFile, TableId


class S3DataLoaderConfig(GuardedConfig):
    """Loads AWS Data Exports (CUR 2.0 or FOCUS) from the org's bucket, whole billing periods."""

    ps_type: ClassVar[str] = "aws.s3_data_loader"

    table: TableId = "aws_cost_daily"
    """Table of the org's dataset that takes the cost."""

    schema_file: SchemaFile = "aws/cost/schemas/aws_cost_daily.json"
    """That table's schema."""

    files_table: TableId = "aws_export_files"
    """Table of the files that a period was last loaded from."""

    files_schema_file: SchemaFile = "aws/cost/schemas/aws_export_files.json"
    """That table's schema."""

    source_view: SqlFile | None = None
    """The table's part of cost_daily."""

    max_periods: int = Field(default=13, ge=1, le=120)
    """Maximum number of billing periods per run; the newest come first."""

    max_files: int = Field(default=20_000, ge=1, le=1_000_000)
    """Maximum number of files of an export."""

    max_file_mb: int = Field(default=4096, ge=1, le=65_536)
    """Maximum size of a file."""

    max_unpacked_mb: int = Field(default=65_536, ge=1, le=1_048_576)
    """Maximum unpacked size of a compressed file."""

    load_without_manifest: bool = False
    """Load a period whose files have no manifest at once. By default it is loaded when its newest
    file is two hours old and a second listing, after the files were read, equals the first: a
    replicated bucket has no manifest and takes the files one by one."""

    def daily_tables(self) -> tuple[str, ...]:
        """Return the cost table; the table of files has no due days."""
        return (self.table,)

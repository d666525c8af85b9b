"""JobStatistics of queries.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2
"""

from __future__ import annotations

from convergence_sandbox.bigquery.rest.wire import Json
from convergence_sandbox.bigquery.rows.result import QueryResult
from convergence_sandbox.bigquery.statements.estimate import billed_bytes


def query_statistics(result: QueryResult, *, dry_run: bool = False) -> Json:
    """Return what a query job's `statistics` say next to its times."""
    processed = str(result.total_bytes_processed)
    billed = billed_bytes(result.total_bytes_processed, tables=len(result.referenced_tables))
    query: Json = {
        "statementType": result.statement_type,
        "totalBytesProcessed": processed,
        "totalBytesProcessedAccuracy": "PRECISE",
        "totalBytesBilled": "0" if dry_run else str(billed),
        "cacheHit": False,
        "totalSlotMs": "0",
    }
    if result.referenced_tables:
        query["referencedTables"] = [ref.to_rest() for ref in result.referenced_tables]
    if dry_run:
        query["schema"] = result.schema.to_rest()
    statistics: Json = {"totalBytesProcessed": processed, "query": query | _effects(result)}
    if result.child_results:
        statistics["numChildJobs"] = str(len(result.child_results))
    return statistics


def _effects(result: QueryResult) -> Json:
    """Return what the statement changed."""
    effects: Json = {}
    if result.affected_rows is not None:
        effects["numDmlAffectedRows"] = str(result.affected_rows)
    if result.dml_stats is not None:
        effects["dmlStats"] = {name: str(value) for name, value in result.dml_stats.items()}
    if result.ddl_operation is not None:
        effects["ddlOperationPerformed"] = result.ddl_operation
        if result.destination is not None:
            effects["ddlTargetTable"] = result.destination.to_rest()
    return effects

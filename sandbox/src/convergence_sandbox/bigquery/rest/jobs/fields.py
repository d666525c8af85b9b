"""Which fields of a job's configuration this server reads; any other is rejected by name.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfiguration
"""

from __future__ import annotations

JOB_FIELDS = {"query", "load", "copy", "extract", "dryRun", "labels", "jobType"}
# Taken and without effect: capacity, caching and limits that a laptop does not have.
IDLE_JOB_FIELDS = {"jobTimeoutMs", "maxSlots", "reservation"}
IDLE_QUERY_FIELDS = {
    "allowLargeResults",
    "flattenResults",
    "preserveNulls",
    "priority",
    "useQueryCache",
}
QUERY_FIELDS = IDLE_QUERY_FIELDS | {
    "clustering",
    "connectionProperties",
    "createDisposition",
    "createSession",
    "defaultDataset",
    "destinationTable",
    "maximumBytesBilled",
    "parameterMode",
    "query",
    "queryParameters",
    "rangePartitioning",
    "schemaUpdateOptions",
    "timePartitioning",
    "useLegacySql",
    "writeDisposition",
}
CSV_FIELDS = {
    "allowJaggedRows",
    "allowQuotedNewlines",
    "fieldDelimiter",
    "nullMarker",
    "nullMarkers",
    "quote",
    "skipLeadingRows",
}
LOAD_FIELDS = CSV_FIELDS | {
    "autodetect",
    "clustering",
    "createDisposition",
    "createSession",
    "destinationTable",
    "destinationTableProperties",
    "encoding",
    "ignoreUnknownValues",
    "maxBadRecords",
    "parquetOptions",
    "rangePartitioning",
    "schema",
    "schemaUpdateOptions",
    "sourceFormat",
    "sourceUris",
    "timePartitioning",
    "writeDisposition",
}
COPY_FIELDS = {
    "createDisposition",
    "destinationTable",
    "operationType",
    "sourceTable",
    "sourceTables",
    "writeDisposition",
}
LAYOUT_FIELDS = ("timePartitioning", "rangePartitioning", "clustering")
SCHEMA_UPDATES = frozenset({"ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"})

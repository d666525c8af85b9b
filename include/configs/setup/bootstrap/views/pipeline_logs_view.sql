-- Org runs as they stand now: the newest line of the log of each.
-- The log is partitioned by recorded_at and refuses to be read whole: 400 days is a year's
-- comparison and a month.
SELECT
  org_slug,
  run_id,
  pipeline_id,
  dag_id,
  dag_run_id,
  `trigger`,
  status,
  days,
  request_id,
  requested_by,
  error_code,
  error_message,
  rows_processed,
  recorded_at,
  started_at,
  ended_at,
  TIMESTAMP_DIFF(ended_at, started_at, SECOND) AS duration_seconds
FROM `{{ project }}.{{ dataset }}.org_meta_pipeline_runs`
WHERE recorded_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 400 DAY)
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY org_slug, run_id
  ORDER BY recorded_at DESC, IF(ended_at IS NULL, 0, 1) DESC, IF(started_at IS NULL, 0, 1) DESC
) = 1

-- Attempts at steps as they stand now: the newest line of the log of each.
SELECT
  org_slug,
  run_id,
  pipeline_id,
  step,
  processor,
  attempt,
  status,
  rows_processed,
  destination_table,
  result,
  error_code,
  error_message,
  recorded_at,
  started_at,
  ended_at,
  TIMESTAMP_DIFF(ended_at, started_at, SECOND) AS duration_seconds
FROM `{{ project }}.{{ dataset }}.org_meta_step_logs`
WHERE recorded_at >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 400 DAY)
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY org_slug, run_id, step, attempt
  ORDER BY recorded_at DESC, IF(ended_at IS NULL, 0, 1) DESC
) = 1

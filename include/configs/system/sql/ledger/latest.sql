-- Of each slice of the given orgs and pipelines, from @since on: the newest ledger row in a state
-- with content, and the newest in a state without. Only states in @actions are read.
--
-- The table is partitioned by the day of the check and never expires. A slice is only ever
-- checked after its day began, so `checked_at >= @since` leaves out no row of a day from @since
-- on, however long ago a day became final: the bound is exact and prunes partitions at once.
-- Clustering by org, pipeline and table then reads the asked orgs' blocks only.
SELECT
  org_slug,
  pipeline_id,
  table_name,
  slice_day,
  action,
  attempt,
  run_id,
  job_id,
  content_hash,
  row_count,
  totals,
  source_pages,
  finality,
  checked_at,
  job_ended_at,
  previous_run_id,
  previous_row_count,
  previous_totals,
  inputs,
  query_version,
  gross,
  quantities,
  lower_pending,
  change,
  content_since
FROM `{{ project }}.{{ central }}.org_meta_slices`
WHERE checked_at >= TIMESTAMP(@since)
  AND slice_day >= @since
  AND pipeline_id IN UNNEST(@pipeline_ids)
  AND org_slug IN UNNEST(@orgs)
  AND action IN UNNEST(@actions)
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY org_slug, pipeline_id, table_name, slice_day, action IN UNNEST(@content)
  ORDER BY attempt DESC, checked_at DESC
) = 1

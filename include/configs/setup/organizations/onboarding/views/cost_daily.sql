-- The one face of cost: every provider's daily cost, never summed here, each row with its basis and
-- currency. Whether a day is final, and which run published it, is the ledger's to say.
WITH
  sources AS (
    {{ cost_sources }}
  ),
  checked AS (
    SELECT table_name, slice_day, finality
    FROM `{{ project }}.{{ central }}.org_meta_slices`
    WHERE org_slug = '{{ org_slug }}'
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY table_name, slice_day ORDER BY checked_at DESC, attempt DESC) = 1
  ),
  published AS (
    SELECT table_name, slice_day, run_id
    FROM `{{ project }}.{{ central }}.org_meta_slices`
    WHERE org_slug = '{{ org_slug }}' AND action != 'UNCHANGED'
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY table_name, slice_day ORDER BY checked_at DESC, attempt DESC) = 1
  )
SELECT
  sources.*,
  '{{ org_slug }}' AS BillingAccountId,
  checked.finality AS x_Finality,
  published.run_id AS x_RunId
FROM sources
LEFT JOIN checked
  ON checked.table_name = sources.x_SourceTable AND checked.slice_day = sources.x_UsageDate
LEFT JOIN published
  ON published.table_name = sources.x_SourceTable AND published.slice_day = sources.x_UsageDate

-- Billed against computed cost over days: rows grouped as requested, totals by currency, and the rates
-- that contract discounts propose. Only rows with both sides in one currency are summed; a reason's
-- absolute amounts are explained or not.
WITH
  cells AS (
    SELECT
      cost_stream AS stream,
      sku_id AS sku,
      billing_currency AS currency,
      usage_date,
      is_comparable,
      computed_cost,
      billed_cost,
      difference,
      reasons,
      COALESCE((SELECT SUM(ABS(one.amount)) FROM UNNEST(reasons) AS one WHERE one.is_explained), 0) AS explained,
      COALESCE((SELECT SUM(ABS(one.amount)) FROM UNNEST(reasons) AS one WHERE NOT one.is_explained), 0) AS unexplained
    FROM `{{ project }}.{{ dataset }}.cost_reconciliation_daily`
    WHERE usage_date BETWEEN @start_date AND @end_date
  ),
  parts AS (
    SELECT
      cells.stream, cells.sku, cells.currency, cells.usage_date,
      one.reason,
      CAST(NULL AS NUMERIC) AS computed_cost,
      CAST(NULL AS NUMERIC) AS billed_cost,
      one.amount AS difference,
      IF(one.is_explained, ABS(one.amount), 0) AS explained,
      IF(one.is_explained, 0, ABS(one.amount)) AS unexplained,
      JSON_VALUE(one.evidence, '$.ratio') AS ratio
    FROM cells
    CROSS JOIN UNNEST(cells.reasons) AS one
    WHERE cells.is_comparable
  ),
  grouped AS (
    SELECT
      IF(@by_stream, stream, NULL) AS stream,
      IF(@by_sku, sku, NULL) AS sku,
      reason,
      currency,
      SUM(computed_cost) AS computed_cost,
      SUM(billed_cost) AS billed_cost,
      SUM(difference) AS difference,
      SUM(explained) AS explained_amount,
      SUM(unexplained) AS unexplained_amount
    FROM (
      SELECT stream, sku, reason, currency, computed_cost, billed_cost, difference, explained, unexplained
      FROM parts
      WHERE @by_reason
      UNION ALL
      SELECT stream, sku, NULL, currency, computed_cost, billed_cost, difference, explained, unexplained
      FROM cells
      WHERE NOT @by_reason AND is_comparable
    )
    GROUP BY stream, sku, reason, currency
  )
SELECT
  'row' AS kind,
  *,
  CAST(NULL AS INT64) AS days_compared,
  CAST(NULL AS INT64) AS days_not_comparable,
  CAST(NULL AS NUMERIC) AS ratio
FROM grouped
UNION ALL
SELECT
  'total', NULL, NULL, NULL, currency,
  COALESCE(SUM(IF(is_comparable, computed_cost, NULL)), 0),
  COALESCE(SUM(IF(is_comparable, billed_cost, NULL)), 0),
  COALESCE(SUM(difference), 0),
  SUM(explained),
  SUM(unexplained),
  COUNT(DISTINCT IF(is_comparable, usage_date, NULL)),
  COUNT(DISTINCT IF(is_comparable, NULL, usage_date)),
  NULL
FROM cells
GROUP BY currency
UNION ALL
SELECT DISTINCT 'rate', stream, sku, NULL, currency, NULL, NULL, NULL, NULL, NULL, NULL, NULL, CAST(ratio AS NUMERIC)
FROM parts
WHERE ratio IS NOT NULL
ORDER BY kind, currency, unexplained_amount DESC, explained_amount DESC, stream, sku, reason
LIMIT 20001

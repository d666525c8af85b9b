-- Computed against billed cost of some days of one stream: sums by currency, and of each reason.
WITH
  cells AS (
    SELECT *
    FROM `{{ project }}.{{ dataset }}.{{ reconciliation_table }}`
    WHERE usage_date IN UNNEST(@days)
  ),
  sums AS (
    SELECT
      billing_currency AS currency,
      SUM(IF(is_comparable, computed_cost, 0)) AS computed,
      SUM(IF(is_comparable, billed_cost, 0)) AS billed,
      COUNT(DISTINCT IF(is_comparable, usage_date, NULL)) AS days_compared,
      COUNT(DISTINCT IF(is_comparable, NULL, usage_date)) AS days_not_comparable
    FROM cells
    GROUP BY currency
  ),
  reasons AS (
    SELECT
      billing_currency AS currency,
      one.reason,
      one.is_explained,
      SUM(one.amount) AS amount,
      SUM(ABS(one.amount)) AS absolute_amount
    FROM cells
    CROSS JOIN UNNEST(reasons) AS one
    WHERE is_comparable
    GROUP BY currency, reason, is_explained
  )
SELECT
  sums.*,
  reasons.reason,
  reasons.is_explained,
  reasons.amount,
  reasons.absolute_amount
FROM sums
LEFT JOIN reasons
  ON reasons.currency = sums.currency
ORDER BY currency, absolute_amount DESC, reason, is_explained

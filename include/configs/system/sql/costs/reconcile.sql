-- One provider's computed cost against what it bills, by day and currency, each difference with
-- its reason; no rows where only one of the two is known.
--
-- Lines are matched by what was used: a model without its date, or a tool. The amounts of a day's
-- reasons add up to billed - computed exactly. A discount is a reason of its own where it makes the
-- difference smaller; the rest of a line's difference has the first reason that applies:
--   rounding           no more than the rounding of the lines
--   code_execution     a tool that no usage report counts
--   priority_tier      committed capacity, which is in no list and on another bill
--   tier_unknown       usage whose tier no price names
--   not_billed_yet     less is billed than was used, and the bill may still change
--   blocked_request    used, and never billed
--   price_table_stale  the price book has other prices, or none
WITH
  lines AS (
    SELECT
      x_UsageDate AS day,
      BillingCurrency AS currency,
      x_Basis AS basis,
      CASE
        WHEN x_Model IS NOT NULL
          THEN REGEXP_REPLACE(x_Model, r'-(\d{4}-\d{2}-\d{2}|\d{8})$', '')
        WHEN STARTS_WITH(LOWER(SkuMeter), 'web search') THEN 'web_search'
        WHEN STARTS_WITH(LOWER(SkuMeter), 'file search') THEN 'file_search'
        WHEN STARTS_WITH(LOWER(SkuMeter), 'code interpreter') THEN 'code_interpreter'
        ELSE COALESCE(SkuMeter, 'unknown')
      END AS sku,
      COALESCE(EffectiveCost, 0) AS cost,
      COALESCE(ListCost, 0) AS list_cost,
      x_UnpricedReason AS unpriced,
      x_UsageDate IN UNNEST(@final_days) AS is_final_day
    FROM `{{ project }}.{{ dataset }}.cost_daily_by_basis`
    WHERE x_Provider = @provider AND x_UsageDate IN UNNEST(@days)
  ),
  bills AS (
    SELECT day, LOGICAL_AND(is_final_day) AS is_final
    FROM lines
    WHERE basis = 'billed'
    GROUP BY day
  ),
  skus AS (
    SELECT
      day,
      currency,
      sku,
      SUM(IF(basis = 'computed', cost, 0)) AS computed,
      SUM(IF(basis = 'billed', cost, 0)) AS billed,
      SUM(IF(basis = 'billed', cost - list_cost, 0)) AS discount,
      COALESCE(LOGICAL_OR(unpriced = 'priority_tier'), FALSE) AS has_priority,
      COALESCE(LOGICAL_OR(unpriced = 'tier_unknown'), FALSE) AS has_unknown_tier
    FROM lines
    GROUP BY day, currency, sku
  ),
  parts AS (
    SELECT
      * EXCEPT (discount),
      -- An org that prices usage at its own rates has the discount on both sides already.
      IF(ABS(billed - computed - discount) < ABS(billed - computed), discount, 0) AS discount
    FROM skus
  ),
  rests AS (
    SELECT parts.*, billed - computed - discount AS rest, COALESCE(bills.is_final, FALSE) AS is_final
    FROM parts
    LEFT JOIN bills ON bills.day = parts.day
  ),
  explained AS (
    SELECT day, currency, 'discount' AS reason, discount AS amount
    FROM rests
    UNION ALL
    SELECT
      day,
      currency,
      CASE
        WHEN ABS(rest) <= NUMERIC '0.000001' THEN 'rounding'
        WHEN sku = 'code_execution' THEN 'code_execution'
        WHEN has_priority THEN 'priority_tier'
        WHEN has_unknown_tier THEN 'tier_unknown'
        WHEN rest < 0 AND NOT is_final THEN 'not_billed_yet'
        WHEN billed = 0 THEN 'blocked_request'
        ELSE 'price_table_stale'
      END,
      rest
    FROM rests
  ),
  reasons AS (
    SELECT day, currency, reason, SUM(amount) AS amount
    FROM explained
    WHERE amount != 0
    GROUP BY day, currency, reason
  ),
  totals AS (
    SELECT day, currency, SUM(computed) AS computed, SUM(billed) AS billed
    FROM skus
    GROUP BY day, currency
  )
SELECT
  totals.day,
  totals.currency,
  totals.computed,
  totals.billed,
  reasons.reason,
  reasons.amount
FROM totals
LEFT JOIN reasons ON reasons.day = totals.day AND reasons.currency = totals.currency
WHERE (SELECT COUNT(DISTINCT basis) FROM lines) = 2
ORDER BY totals.day, totals.currency, reasons.reason

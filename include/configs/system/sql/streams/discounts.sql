-- A contract discount: one ratio below 1 between bill and computed cost, of at least three models on at
-- least seven final days. A day of a model counts if each of its meters has the ratio and the quantities
-- are equal, or the bill states none.
WITH
  sides AS (
    {% for view, is_bill in [(bill_view, "TRUE"), (usage_view, "FALSE")] %}
    SELECT
      x_UsageDate AS day,
      REGEXP_REPLACE(
        COALESCE(REGEXP_EXTRACT(SkuId, r'^(ft:[^:]+):'), SkuId), r'-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$', ''
      ) AS sku,
      COALESCE(SkuMeter, '') AS meter,
      BillingCurrency AS currency,
      {{ is_bill }} AS is_bill,
      BilledCost AS cost,
      ConsumedQuantity AS quantity
    FROM `{{ project }}.{{ dataset }}.{{ view }}`
    WHERE x_UsageDate IN UNNEST(@days)
    {% if not loop.last %}UNION ALL{% endif %}

    {% endfor %}
  ),
  meters AS (
    SELECT
      day, sku, meter, currency,
      SUM(IF(is_bill, cost, 0)) AS billed,
      SUM(IF(is_bill, 0, cost)) AS computed,
      SUM(IF(is_bill, quantity, NULL)) AS billed_quantity,
      SUM(IF(is_bill, NULL, quantity)) AS computed_quantity
    FROM sides
    GROUP BY day, sku, meter, currency
  ),
  -- Below a cent the rounding of the rows shows in the ratio.
  models AS (
    SELECT day, sku, ROUND(SUM(billed) / SUM(computed), 6) AS ratio
    FROM meters
    WHERE
      computed >= NUMERIC '0.01'
      AND COALESCE(billed_quantity = computed_quantity, TRUE)
    GROUP BY day, sku
    HAVING MAX(billed / computed) - MIN(billed / computed) <= NUMERIC '0.000002'
  )
SELECT ratio, ARRAY_AGG(DISTINCT sku ORDER BY sku) AS skus, COUNT(DISTINCT day) AS days
FROM models
WHERE ratio < 1 AND ratio > 0
GROUP BY ratio
HAVING COUNT(DISTINCT sku) >= 3 AND COUNT(DISTINCT day) >= 7
ORDER BY COUNT(*) DESC, ratio
LIMIT 1

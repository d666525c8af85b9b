-- One UTC day of the vendor's usage at the list prices that the pipeline gives; a row out for each
-- row in. NUMERIC times NUMERIC is exact to 9 decimals and rounded half away from zero beyond.
WITH
  prices AS (
    SELECT 'search' AS meter, @price_of_a_search AS unit_price
    UNION ALL
    SELECT 'storage', @price_of_a_gigabyte
    UNION ALL
    SELECT 'compute', @price_of_a_second
  )
SELECT
  usage.usage_date,
  usage.workspace_id,
  usage.plan,
  usage.meter,
  usage.unit,
  usage.quantity,
  prices.unit_price,
  @currency AS currency,
  usage.quantity * prices.unit_price AS effective_cost,
  IF(prices.unit_price IS NULL, 'UNPRICED', 'PRICED') AS pricing_status,
  IF(prices.unit_price IS NULL, 'no price for the meter', NULL) AS unpriced_reason
FROM `{{ project }}.{{ dataset }}.{{ usage }}` AS usage
LEFT JOIN prices ON prices.meter = usage.meter
WHERE usage.usage_date = @day

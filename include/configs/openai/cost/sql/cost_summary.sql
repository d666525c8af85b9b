-- What the days came to, and what stayed without a price or has one of nothing, by model, tier and
-- reason.
SELECT
  pricing_status,
  currency,
  endpoint,
  model,
  COALESCE(priced_tier, service_tier) AS tier,
  IF(
    pricing_status = 'PRICED' AND effective_cost = 0 AND COALESCE(units, total_tokens, 0) > 0,
    'free',
    unpriced_reason
  ) AS reason,
  COUNT(*) AS usage_rows,
  SUM(total_tokens) AS tokens,
  SUM(effective_cost) AS effective_cost
FROM `{{ project }}.{{ dataset }}.{{ cost_table }}`
WHERE usage_date IN UNNEST(@days)
GROUP BY pricing_status, currency, endpoint, model, tier, reason

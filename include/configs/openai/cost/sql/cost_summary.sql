-- What the priced days came to, and what stayed without a price, by reason.
SELECT
  usage_date,
  pricing_status,
  unpriced_reason,
  model,
  priced_tier,
  currency,
  COUNT(*) AS usage_rows,
  SUM(total_tokens) AS tokens,
  SUM(effective_cost) AS effective_cost
FROM `{{ project }}.{{ dataset }}.{{ cost_table }}`
WHERE usage_date IN UNNEST(@days)
GROUP BY usage_date, pricing_status, unpriced_reason, model, priced_tier, currency
ORDER BY usage_date, pricing_status, unpriced_reason, model, priced_tier, currency

-- The totals of the days, the usage without a price, and the usage with a price of zero, by model,
-- tier and reason. `tool_column` is the vendor's column of the endpoint or tool.
SELECT
  pricing_status,
  currency,
  {{ tool_column }} AS endpoint,
  model,
  COALESCE(priced_tier, service_tier) AS tier,
  IF(
    pricing_status = 'PRICED'
      AND effective_cost = 0
      AND GREATEST(0{% for meter in token_meters + unit_meters %}, COALESCE({{ meter.quantity }}, 0){% endfor %}) > 0,
    'free',
    unpriced_reason
  ) AS reason,
  COUNT(*) AS usage_rows,
  SUM(total_tokens) AS tokens,
  SUM(effective_cost) AS effective_cost
FROM `{{ project }}.{{ dataset }}.{{ cost_table }}`
WHERE usage_date IN UNNEST(@days)
GROUP BY pricing_status, currency, endpoint, model, tier, reason

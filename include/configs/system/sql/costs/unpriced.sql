-- An org's usage that has no cost, with the reason.
SELECT
  x_UsageDate AS day,
  x_Provider AS provider,
  x_Model AS model,
  x_UnpricedReason AS reason,
  SUM(x_Requests) AS requests
FROM `{{ project }}.{{ dataset }}.cost_daily`
WHERE x_UsageDate BETWEEN @start_date AND @end_date AND x_PricingStatus = 'UNPRICED'
GROUP BY day, provider, model, reason
ORDER BY day, provider, model, reason
LIMIT 1000

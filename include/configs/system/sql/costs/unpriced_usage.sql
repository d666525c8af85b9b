-- Usage of a range of UTC days that has no cost, with the reason: it is in no total.
SELECT
  x_UsageDate AS day,
  x_Provider AS provider,
  ServiceName AS service,
  x_Model AS model,
  x_ServiceTier AS service_tier,
  x_UnpricedReason AS reason,
  SUM(ConsumedQuantity) AS quantity,
  ANY_VALUE(ConsumedUnit) AS unit
FROM `{{ project }}.{{ dataset }}.cost_daily`
WHERE
  x_UsageDate BETWEEN @first_day AND @last_day
  AND x_PricingStatus = 'UNPRICED'
  AND CONCAT(x_Provider, '/', x_Basis) IN UNNEST(@bases)
  AND (@provider = '' OR x_Provider = @provider)
  AND (@service = '' OR ServiceName = @service)
  AND (@model = '' OR x_Model = @model)
  AND (@project_id = '' OR SubAccountId = @project_id)
GROUP BY day, provider, service, model, service_tier, reason
ORDER BY day, provider, service, model, service_tier, reason
LIMIT @most_rows

-- An org's cost of a range of UTC days, grouped as asked; never across bases or currencies.
SELECT
  IF(@by_day, x_UsageDate, NULL) AS day,
  IF(@by_provider, x_Provider, NULL) AS provider,
  IF(@by_service, ServiceName, NULL) AS service,
  IF(@by_model, x_Model, NULL) AS model,
  IF(@by_project, SubAccountId, NULL) AS project,
  x_Basis AS basis,
  BillingCurrency AS currency,
  SUM(EffectiveCost) AS cost,
  SUM(ListCost) AS list_cost,
  SUM(BilledCost) AS billed_cost,
  COUNTIF(x_PricingStatus = 'UNPRICED') AS unpriced_rows
FROM `{{ project }}.{{ dataset }}.cost_daily`
WHERE
  x_UsageDate BETWEEN @first_day AND @last_day
  AND CONCAT(x_Provider, '/', x_Basis) IN UNNEST(@bases)
  AND (@provider = '' OR x_Provider = @provider)
  AND (@service = '' OR ServiceName = @service)
  AND (@model = '' OR x_Model = @model)
  AND (@project_id = '' OR SubAccountId = @project_id)
GROUP BY day, provider, service, model, project, basis, currency
ORDER BY day, provider, service, model, project, basis, currency
LIMIT @most_rows

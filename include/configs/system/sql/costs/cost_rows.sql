-- An org's cost over days, grouped as requested; never across bases or currencies. The view is
-- cost_daily, or cost_daily_by_basis for one basis.
SELECT
  IF(@by_day, x_UsageDate, NULL) AS day,
  IF(@by_provider, x_Provider, NULL) AS provider,
  IF(@by_model, x_Model, NULL) AS model,
  IF(@by_project, SubAccountId, NULL) AS project,
  IF(@by_service, ServiceName, NULL) AS service,
  x_Basis AS basis,
  BillingCurrency AS currency,
  SUM(EffectiveCost) AS cost,
  SUM(ListCost) AS list_cost,
  SUM(BilledCost) AS billed_cost
FROM `{{ project }}.{{ dataset }}.{{ costs }}`
WHERE
  x_UsageDate BETWEEN @start_date AND @end_date
  AND (@currency = '' OR BillingCurrency = @currency)
  AND (@basis = '' OR x_Basis = @basis)
GROUP BY day, provider, model, project, service, basis, currency
ORDER BY day, provider, service, model, project, basis, currency
LIMIT 20001

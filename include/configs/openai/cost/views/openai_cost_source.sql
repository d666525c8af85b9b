-- OpenAI's share of cost_daily: computed cost by day, endpoint, model, tier and project.
-- A computed cost was not invoiced: BilledCost is what the invoice is expected to show.
SELECT
  usage_date AS x_UsageDate,
  'openai' AS x_Provider,
  'openai_cost_daily' AS x_SourceTable,
  'computed' AS x_Basis,
  pricing_status AS x_PricingStatus,
  unpriced_reason AS x_UnpricedReason,
  price_caveat AS x_PriceCaveat,
  price_version AS x_PriceVersion,
  -- A tool's calls are told beside the model's tokens, not among them.
  CASE
    WHEN unit IN ('call', 'session') THEN COALESCE(price_model_id, endpoint)
    ELSE COALESCE(model, IF(endpoint = 'vector_stores', endpoint, NULL))
  END AS x_Model,
  COALESCE(priced_tier, service_tier) AS x_ServiceTier,
  SUM(num_model_requests) AS x_Requests,
  SUM(billed_cost) AS BilledCost,
  SUM(contracted_cost) AS ContractedCost,
  SUM(effective_cost) AS EffectiveCost,
  SUM(list_cost) AS ListCost,
  COALESCE(currency, 'USD') AS BillingCurrency,
  TIMESTAMP(usage_date) AS ChargePeriodStart,
  TIMESTAMP(DATE_ADD(usage_date, INTERVAL 1 DAY)) AS ChargePeriodEnd,
  TIMESTAMP(DATE_TRUNC(usage_date, MONTH)) AS BillingPeriodStart,
  TIMESTAMP(DATE_ADD(DATE_TRUNC(usage_date, MONTH), INTERVAL 1 MONTH)) AS BillingPeriodEnd,
  'Usage' AS ChargeCategory,
  CAST(NULL AS STRING) AS ChargeClass,
  'Usage-Based' AS ChargeFrequency,
  CONCAT(COALESCE(model, IF(unit IS NULL, 'unknown model', '')), ' ', endpoint) AS ChargeDescription,
  SUM(COALESCE(units, total_tokens)) AS ConsumedQuantity,
  COALESCE(CONCAT(INITCAP(unit), 's'), 'Tokens') AS ConsumedUnit,
  SUM(COALESCE(units, total_tokens)) AS PricingQuantity,
  COALESCE(CONCAT(INITCAP(unit), 's'), 'Tokens') AS PricingUnit,
  'AI and Machine Learning' AS ServiceCategory,
  'OpenAI API' AS ServiceName,
  'OpenAI' AS ProviderName,
  'OpenAI' AS PublisherName,
  'OpenAI' AS InvoiceIssuerName,
  'OpenAI' AS ServiceProviderName,
  'OpenAI' AS HostProviderName,
  IF(unit IS NULL, model, COALESCE(price_model_id, model)) AS SkuId,
  endpoint AS SkuMeter,
  IF(
    price_model_id IS NULL,
    NULL,
    CONCAT(
      price_model_id, '/', priced_tier, '@', FORMAT_DATE('%Y-%m-%d', price_effective_from),
      IF(price_is_override, '/own', '')
    )
  ) AS SkuPriceId,
  project_id AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  IF(project_id IS NULL, NULL, 'Project') AS SubAccountType
FROM `{{ project }}.{{ dataset }}.openai_cost_daily`
GROUP BY
  usage_date, pricing_status, unpriced_reason, price_caveat, price_version, model, priced_tier,
  service_tier, endpoint, unit, currency, price_model_id, price_effective_from, price_is_override,
  project_id

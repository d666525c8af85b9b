-- Anthropic's computed share of cost_daily, by day, model or tool, tier and workspace.
-- A computed cost was not invoiced: BilledCost is what the invoice is expected to show.
SELECT
  usage_date AS x_UsageDate,
  'anthropic' AS x_Provider,
  'anthropic_cost_daily' AS x_SourceTable,
  'computed' AS x_Basis,
  pricing_status AS x_PricingStatus,
  unpriced_reason AS x_UnpricedReason,
  price_caveat AS x_PriceCaveat,
  price_version AS x_PriceVersion,
  -- A tool's calls are told beside the model's tokens, not among them.
  IF(cost_type = 'tokens', model, cost_type) AS x_Model,
  COALESCE(priced_tier, service_tier) AS x_ServiceTier,
  SUM(requests) AS x_Requests,
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
  CONCAT(COALESCE(model, 'unknown model'), IF(cost_type = 'tokens', ' tokens', ' web search'))
    AS ChargeDescription,
  SUM(IF(cost_type = 'tokens', total_tokens, web_search_requests)) AS ConsumedQuantity,
  IF(cost_type = 'tokens', 'Tokens', 'Searches') AS ConsumedUnit,
  SUM(IF(cost_type = 'tokens', total_tokens, web_search_requests)) AS PricingQuantity,
  IF(cost_type = 'tokens', 'Tokens', 'Searches') AS PricingUnit,
  'AI and Machine Learning' AS ServiceCategory,
  'Claude API' AS ServiceName,
  'Anthropic' AS ProviderName,
  'Anthropic' AS PublisherName,
  'Anthropic' AS InvoiceIssuerName,
  'Anthropic' AS ServiceProviderName,
  'Anthropic' AS HostProviderName,
  IF(cost_type = 'tokens', model, cost_type) AS SkuId,
  cost_type AS SkuMeter,
  IF(
    price_model_id IS NULL,
    NULL,
    CONCAT(
      price_model_id, '/', priced_tier, '/', price_context_window, '@',
      FORMAT_DATE('%Y-%m-%d', price_effective_from), IF(price_is_override, '/own', '')
    )
  ) AS SkuPriceId,
  COALESCE(workspace_id, 'default') AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  'Workspace' AS SubAccountType
FROM `{{ project }}.{{ dataset }}.anthropic_cost_daily`
GROUP BY
  usage_date, pricing_status, unpriced_reason, price_caveat, price_version, model, priced_tier,
  service_tier, cost_type, currency, price_model_id, price_context_window, price_effective_from,
  price_is_override, workspace_id

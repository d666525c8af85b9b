-- Anthropic's bill by day, model or tool, meter, tier, context window, workspace and key. Meters are
-- named as in anthropic_cost_daily. Amounts are after discount and before credits. The older report
-- has no list price.
SELECT
  usage_date AS x_UsageDate,
  'anthropic' AS x_Provider,
  'anthropic_billed_daily' AS x_SourceTable,
  'billed' AS x_Basis,
  'PRICED' AS x_PricingStatus,
  CAST(NULL AS STRING) AS x_UnpricedReason,
  CAST(NULL AS STRING) AS x_PriceCaveat,
  CAST(NULL AS STRING) AS x_PriceVersion,
  COALESCE(model, cost_type) AS x_Model,
  service_tier AS x_ServiceTier,
  -- Each class of tokens repeats the same requests.
  CAST(NULL AS INT64) AS x_Requests,
  SUM(billed_cost) AS BilledCost,
  SUM(billed_cost) AS ContractedCost,
  SUM(billed_cost) AS EffectiveCost,
  SUM(COALESCE(list_cost, billed_cost)) AS ListCost,
  currency AS BillingCurrency,
  TIMESTAMP(usage_date) AS ChargePeriodStart,
  TIMESTAMP(DATE_ADD(usage_date, INTERVAL 1 DAY)) AS ChargePeriodEnd,
  TIMESTAMP(DATE_TRUNC(usage_date, MONTH)) AS BillingPeriodStart,
  TIMESTAMP(DATE_ADD(DATE_TRUNC(usage_date, MONTH), INTERVAL 1 MONTH)) AS BillingPeriodEnd,
  'Usage' AS ChargeCategory,
  CAST(NULL AS STRING) AS ChargeClass,
  'Usage-Based' AS ChargeFrequency,
  ARRAY_TO_STRING(
    [COALESCE(model, 'Claude API'), COALESCE(cost_type, 'all costs'), token_type], ' '
  ) AS ChargeDescription,
  CAST(NULL AS NUMERIC) AS ConsumedQuantity,
  CAST(NULL AS STRING) AS ConsumedUnit,
  CAST(NULL AS NUMERIC) AS PricingQuantity,
  CAST(NULL AS STRING) AS PricingUnit,
  'AI and Machine Learning' AS ServiceCategory,
  'Claude API' AS ServiceName,
  'Anthropic' AS ProviderName,
  'Anthropic' AS PublisherName,
  'Anthropic' AS InvoiceIssuerName,
  'Anthropic' AS ServiceProviderName,
  'Anthropic' AS HostProviderName,
  IF(COALESCE(cost_type, 'tokens') = 'tokens', model, cost_type) AS SkuId,
  CASE token_type
    WHEN 'cache_creation.ephemeral_5m_input_tokens' THEN 'cache_write_5m_input_tokens'
    WHEN 'cache_creation.ephemeral_1h_input_tokens' THEN 'cache_write_1h_input_tokens'
    ELSE COALESCE(token_type, IF(cost_type = 'web_search', 'searches', NULL))
  END AS SkuMeter,
  CAST(NULL AS STRING) AS SkuPriceId,
  COALESCE(workspace_id, 'default') AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  'Workspace' AS SubAccountType,
  CAST(NULL AS STRING) AS ResourceId,
  CAST(NULL AS STRING) AS ResourceName,
  CAST(NULL AS STRING) AS ResourceType,
  inference_geo AS RegionId,
  CAST(NULL AS STRING) AS RegionName,
  CAST(NULL AS STRING) AS AvailabilityZone,
  CAST(NULL AS STRING) AS Tags,
  CAST(NULL AS STRING) AS InvoiceId,
  CAST(NULL AS STRING) AS CommitmentDiscountId,
  CAST(NULL AS STRING) AS CommitmentDiscountType,
  CAST(NULL AS STRING) AS CommitmentDiscountCategory,
  CAST(NULL AS STRING) AS CommitmentDiscountStatus,
  organization_id AS x_BillingAccountId,
  key_name AS x_ApiKeyId,
  account_id AS x_UserId,
  context_window AS x_ContextWindow,
  IF(COUNT(*) = COUNT(list_cost), 'bill', 'billed') AS x_ListCostSource
FROM
  (
    SELECT
      *,
      -- Where the bill states keys, a row without one is the Workbench's.
      COALESCE(
        api_key_id, IF(COUNT(api_key_id) OVER (PARTITION BY usage_date) > 0, 'workbench', NULL)
      ) AS key_name
    FROM `{{ project }}.{{ dataset }}.anthropic_billed_daily`
  )
GROUP BY
  usage_date, model, service_tier, cost_type, token_type, currency, workspace_id, organization_id,
  key_name, account_id, context_window, inference_geo

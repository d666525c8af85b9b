-- A vendor's computed cost in cost_daily_by_basis, with the names of FOCUS. Each vendor's view extends
-- this statement: its block `cost` groups the meters of the cost table by what the view distinguishes.
--
-- The columns of `cost`:
--   provider, source_table, service, vendor   constants of the view
--   those of the cost table, with its names   the day, the status and the price of the group
--   model, tier, sku, meter, description      what was used
--   price_name                                the price within its table; NULL without one
--   sub_account, sub_account_type, billing_account, api_key, user   whose usage it is
--   context_window                            whose rates apply; NULL where prices have none
--   requests, list_cost, contracted_cost, billed_cost, effective_cost   sums
--   quantity, unit                            what the meters of the group count, summed
--
-- A computed cost was not invoiced: BilledCost is what the invoice is expected to show.
WITH
  cost AS (
    {% block cost %}
    SELECT *
    FROM `{{ project }}.{{ dataset }}.{{ cost_table }}`
    {% endblock %}
  )
SELECT
  usage_date AS x_UsageDate,
  provider AS x_Provider,
  source_table AS x_SourceTable,
  'computed' AS x_Basis,
  pricing_status AS x_PricingStatus,
  unpriced_reason AS x_UnpricedReason,
  price_caveat AS x_PriceCaveat,
  price_version AS x_PriceVersion,
  model AS x_Model,
  tier AS x_ServiceTier,
  requests AS x_Requests,
  billed_cost AS BilledCost,
  contracted_cost AS ContractedCost,
  effective_cost AS EffectiveCost,
  list_cost AS ListCost,
  COALESCE(currency, 'USD') AS BillingCurrency,
  TIMESTAMP(usage_date) AS ChargePeriodStart,
  TIMESTAMP(DATE_ADD(usage_date, INTERVAL 1 DAY)) AS ChargePeriodEnd,
  TIMESTAMP(DATE_TRUNC(usage_date, MONTH)) AS BillingPeriodStart,
  TIMESTAMP(DATE_ADD(DATE_TRUNC(usage_date, MONTH), INTERVAL 1 MONTH)) AS BillingPeriodEnd,
  'Usage' AS ChargeCategory,
  CAST(NULL AS STRING) AS ChargeClass,
  'Usage-Based' AS ChargeFrequency,
  description AS ChargeDescription,
  quantity AS ConsumedQuantity,
  unit AS ConsumedUnit,
  quantity AS PricingQuantity,
  unit AS PricingUnit,
  'AI and Machine Learning' AS ServiceCategory,
  service AS ServiceName,
  vendor AS ProviderName,
  vendor AS PublisherName,
  vendor AS InvoiceIssuerName,
  vendor AS ServiceProviderName,
  vendor AS HostProviderName,
  sku AS SkuId,
  meter AS SkuMeter,
  CONCAT(
    price_name, '@', FORMAT_DATE('%Y-%m-%d', price_effective_from), IF(price_is_override, '/own', '')
  ) AS SkuPriceId,
  sub_account AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  sub_account_type AS SubAccountType,
  CAST(NULL AS STRING) AS ResourceId,
  CAST(NULL AS STRING) AS ResourceName,
  CAST(NULL AS STRING) AS ResourceType,
  CAST(NULL AS STRING) AS RegionId,
  CAST(NULL AS STRING) AS RegionName,
  CAST(NULL AS STRING) AS AvailabilityZone,
  CAST(NULL AS STRING) AS Tags,
  CAST(NULL AS STRING) AS InvoiceId,
  CAST(NULL AS STRING) AS CommitmentDiscountId,
  CAST(NULL AS STRING) AS CommitmentDiscountType,
  CAST(NULL AS STRING) AS CommitmentDiscountCategory,
  CAST(NULL AS STRING) AS CommitmentDiscountStatus,
  billing_account AS x_BillingAccountId,
  api_key AS x_ApiKeyId,
  user AS x_UserId,
  context_window AS x_ContextWindow,
  'book' AS x_ListCostSource
FROM cost

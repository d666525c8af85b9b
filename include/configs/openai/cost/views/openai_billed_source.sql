-- OpenAI's bill: its costs endpoint by day, line item, project, key and user. A line item is a model
-- and what of it is charged, such as "gpt-4o-2024-08-06, batch_input_tokens" or "priority | gpt-5,
-- output, long context", or the name of a tool.
-- Meters are named as in openai_cost_daily; a line for all tokens of a model states no meter.
-- The endpoint has one amount and no list price.
WITH
  items AS (
    SELECT
      *,
      REGEXP_EXTRACT(line_item, r'^([a-z]+) [|] ') AS item_tier,
      REGEXP_REPLACE(line_item, r'^[a-z]+ [|] ', '') AS item,
      -- Where the bill states keys, a line without one is of calls without a key; where it states
      -- none, it may be of any key.
      COALESCE(
        api_key_id, IF(COUNT(api_key_id) OVER (PARTITION BY usage_date) > 0, 'no_key', NULL)
      ) AS key_name
    FROM `{{ project }}.{{ dataset }}.openai_billed_daily`
  ),
  lines AS (
    SELECT
      *,
      IF(
        item_tier IS NOT NULL AND STRPOS(item, ', ') = 0,
        item,
        REGEXP_EXTRACT(item, r'^([^,]+), ')
      ) AS item_model,
      REGEXP_REPLACE(
        LOWER(REPLACE(REGEXP_EXTRACT(item, r', ([^,]+)'), ' ', '_')), r'^(batch|flex|priority)_', ''
      ) AS item_meter,
      REGEXP_EXTRACT(LOWER(item), r', (batch|flex|priority)[_ ]') AS meter_tier,
      REGEXP_EXTRACT(item, r', [^,]+, (.+)$') AS item_window
    FROM items
  ),
  named AS (
    SELECT
      *,
      CASE
        WHEN item_model IS NOT NULL THEN item_model
        WHEN STARTS_WITH(item, 'web search') THEN 'web_search'
        -- The usage endpoint of what is stored for file search is that of vector stores.
        WHEN STARTS_WITH(item, 'file search storage') THEN 'vector_stores'
        WHEN STARTS_WITH(item, 'file search') THEN 'file_search'
        WHEN STARTS_WITH(item, 'code interpreter') THEN 'code_interpreter'
        ELSE item
      END AS sku,
      CASE
        WHEN item_meter IN ('input', 'input_tokens') THEN 'input_tokens'
        WHEN item_meter IN ('cached_input', 'cached_input_tokens') THEN 'cached_input_tokens'
        WHEN item_meter IN ('cache_writes', 'cache_write_input', 'cache_write_input_tokens')
          THEN 'cache_write_tokens'
        WHEN item_meter IN ('output', 'output_tokens') THEN 'output_tokens'
        WHEN item_meter = 'all_tokens' THEN NULL
        WHEN item_meter = 'duration' THEN 'seconds'
        WHEN item_meter IS NOT NULL THEN item_meter
        WHEN STARTS_WITH(item, 'code interpreter') THEN 'sessions'
        WHEN STARTS_WITH(item, 'file search storage') THEN 'vector_stores'
        WHEN REGEXP_CONTAINS(item, r'^(web|file) search') THEN 'calls'
      END AS meter,
      COALESCE(item_tier, meter_tier) AS tier
    FROM lines
  )
SELECT
  usage_date AS x_UsageDate,
  'openai' AS x_Provider,
  'openai_billed_daily' AS x_SourceTable,
  'billed' AS x_Basis,
  'PRICED' AS x_PricingStatus,
  CAST(NULL AS STRING) AS x_UnpricedReason,
  CAST(NULL AS STRING) AS x_PriceCaveat,
  CAST(NULL AS STRING) AS x_PriceVersion,
  item_model AS x_Model,
  tier AS x_ServiceTier,
  CAST(NULL AS INT64) AS x_Requests,
  SUM(billed_cost) AS BilledCost,
  SUM(billed_cost) AS ContractedCost,
  SUM(billed_cost) AS EffectiveCost,
  SUM(billed_cost) AS ListCost,
  currency AS BillingCurrency,
  TIMESTAMP(usage_date) AS ChargePeriodStart,
  TIMESTAMP(DATE_ADD(usage_date, INTERVAL 1 DAY)) AS ChargePeriodEnd,
  TIMESTAMP(DATE_TRUNC(usage_date, MONTH)) AS BillingPeriodStart,
  TIMESTAMP(DATE_ADD(DATE_TRUNC(usage_date, MONTH), INTERVAL 1 MONTH)) AS BillingPeriodEnd,
  'Usage' AS ChargeCategory,
  CAST(NULL AS STRING) AS ChargeClass,
  'Usage-Based' AS ChargeFrequency,
  COALESCE(line_item, 'all line items') AS ChargeDescription,
  SUM(quantity) AS ConsumedQuantity,
  quantity_unit AS ConsumedUnit,
  SUM(quantity) AS PricingQuantity,
  COALESCE(quantity_unit, 'Units') AS PricingUnit,
  'AI and Machine Learning' AS ServiceCategory,
  'OpenAI API' AS ServiceName,
  'OpenAI' AS ProviderName,
  'OpenAI' AS PublisherName,
  'OpenAI' AS InvoiceIssuerName,
  'OpenAI' AS ServiceProviderName,
  'OpenAI' AS HostProviderName,
  sku AS SkuId,
  meter AS SkuMeter,
  CAST(NULL AS STRING) AS SkuPriceId,
  project_id AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  IF(project_id IS NULL, NULL, 'Project') AS SubAccountType,
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
  CAST(NULL AS STRING) AS x_BillingAccountId,
  key_name AS x_ApiKeyId,
  user_id AS x_UserId,
  item_window AS x_ContextWindow,
  'billed' AS x_ListCostSource
FROM named
GROUP BY
  usage_date, line_item, project_id, key_name, user_id, currency, quantity_unit, item_model,
  item_window, tier, sku, meter

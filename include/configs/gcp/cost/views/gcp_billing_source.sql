-- Google Cloud's bill in cost_daily. A promotion lowers the bill, not what the usage is worth: it is
-- in BilledCost and not in EffectiveCost. A row corrects when it changes usage that an earlier
-- invoice had.
SELECT
  usage_date AS x_UsageDate,
  'gcp' AS x_Provider,
  'billing_cost_daily' AS x_SourceTable,
  'billed' AS x_Basis,
  'PRICED' AS x_PricingStatus,
  CAST(NULL AS STRING) AS x_UnpricedReason,
  CAST(NULL AS STRING) AS x_PriceCaveat,
  CAST(NULL AS STRING) AS x_PriceVersion,
  CAST(NULL AS STRING) AS x_Model,
  CAST(NULL AS STRING) AS x_ServiceTier,
  CAST(NULL AS INT64) AS x_Requests,
  SUM(net_cost) AS BilledCost,
  SUM(cost) AS ContractedCost,
  SUM(net_cost - credits_promotion) AS EffectiveCost,
  SUM(cost_at_list) AS ListCost,
  currency AS BillingCurrency,
  TIMESTAMP(usage_date) AS ChargePeriodStart,
  TIMESTAMP(DATE_ADD(usage_date, INTERVAL 1 DAY)) AS ChargePeriodEnd,
  TIMESTAMP(PARSE_DATE('%Y%m', invoice_month), 'America/Los_Angeles') AS BillingPeriodStart,
  TIMESTAMP(
    DATE_ADD(PARSE_DATE('%Y%m', invoice_month), INTERVAL 1 MONTH), 'America/Los_Angeles'
  ) AS BillingPeriodEnd,
  CASE cost_type
    WHEN 'regular' THEN 'Usage'
    WHEN 'tax' THEN 'Tax'
    ELSE 'Adjustment'
  END AS ChargeCategory,
  IF(
    is_correction AND FORMAT_DATE('%Y%m', usage_date_pacific) < invoice_month, 'Correction', NULL
  ) AS ChargeClass,
  'Usage-Based' AS ChargeFrequency,
  CONCAT(COALESCE(service_description, 'Google Cloud'), ' ', COALESCE(sku_description, ''))
    AS ChargeDescription,
  SUM(usage_amount) AS ConsumedQuantity,
  usage_unit AS ConsumedUnit,
  SUM(pricing_amount) AS PricingQuantity,
  pricing_unit AS PricingUnit,
  CASE service_description
    WHEN 'Compute Engine' THEN 'Compute'
    WHEN 'Cloud Run' THEN 'Compute'
    WHEN 'Cloud Run Functions' THEN 'Compute'
    WHEN 'Kubernetes Engine' THEN 'Compute'
    WHEN 'Cloud Storage' THEN 'Storage'
    WHEN 'BigQuery' THEN 'Analytics'
    WHEN 'Vertex AI' THEN 'AI and Machine Learning'
    WHEN 'Cloud SQL' THEN 'Databases'
    WHEN 'Networking' THEN 'Networking'
    ELSE 'Other'
  END AS ServiceCategory,
  COALESCE(service_description, 'Google Cloud') AS ServiceName,
  'Google Cloud' AS ProviderName,
  IF(publisher_type = 'PARTNER', seller_name, 'Google Cloud') AS PublisherName,
  'Google Cloud' AS InvoiceIssuerName,
  'Google Cloud' AS ServiceProviderName,
  'Google Cloud' AS HostProviderName,
  sku_id AS SkuId,
  sku_description AS SkuMeter,
  CAST(NULL AS STRING) AS SkuPriceId,
  project_id AS SubAccountId,
  project_name AS SubAccountName,
  IF(project_id IS NULL, NULL, 'Project') AS SubAccountType,
  COALESCE(resource_global_name, resource_name) AS ResourceId,
  resource_name AS ResourceName,
  CAST(NULL AS STRING) AS ResourceType,
  region AS RegionId,
  region AS RegionName,
  zone AS AvailabilityZone,
  tags AS Tags,
  CAST(NULL AS STRING) AS InvoiceId,
  subscription_id AS CommitmentDiscountId,
  CAST(NULL AS STRING) AS CommitmentDiscountType,
  CAST(NULL AS STRING) AS CommitmentDiscountCategory,
  CAST(NULL AS STRING) AS CommitmentDiscountStatus,
  billing_account_id AS x_BillingAccountId,
  CAST(NULL AS STRING) AS x_ApiKeyId,
  CAST(NULL AS STRING) AS x_UserId,
  CAST(NULL AS STRING) AS x_ContextWindow,
  'bill' AS x_ListCostSource
FROM `{{ project }}.{{ dataset }}.billing_cost_daily`
GROUP BY
  usage_date, currency, invoice_month, cost_type, ChargeClass, service_description, sku_id,
  sku_description, usage_unit, pricing_unit, publisher_type, seller_name, project_id, project_name,
  resource_name, resource_global_name, region, zone, tags, subscription_id, billing_account_id

-- ChatGPT plans' share of cost_daily: each part of a month is spread evenly over its days.
-- It is computed from the seats that the org maintains. OpenAI bills plans separately: its costs
-- endpoint and the priced usage do not include them. A day's amount is the increase of the rounded
-- running total, so that the days sum to their part exactly.
SELECT
  day AS x_UsageDate,
  'openai' AS x_Provider,
  'openai_subscriptions_monthly' AS x_SourceTable,
  'computed' AS x_Basis,
  'PRICED' AS x_PricingStatus,
  CAST(NULL AS STRING) AS x_UnpricedReason,
  CAST(NULL AS STRING) AS x_PriceCaveat,
  price_version AS x_PriceVersion,
  plan_name AS x_Model,
  CAST(NULL AS STRING) AS x_ServiceTier,
  CAST(NULL AS INT64) AS x_Requests,
  ROUND(cost * (before + 1) / days, 9) - ROUND(cost * before / days, 9) AS BilledCost,
  ROUND(cost * (before + 1) / days, 9) - ROUND(cost * before / days, 9) AS ContractedCost,
  ROUND(cost * (before + 1) / days, 9) - ROUND(cost * before / days, 9) AS EffectiveCost,
  ROUND(list_cost * (before + 1) / days, 9) - ROUND(list_cost * before / days, 9) AS ListCost,
  currency AS BillingCurrency,
  TIMESTAMP(day) AS ChargePeriodStart,
  TIMESTAMP(DATE_ADD(day, INTERVAL 1 DAY)) AS ChargePeriodEnd,
  TIMESTAMP(usage_month) AS BillingPeriodStart,
  TIMESTAMP(DATE_ADD(usage_month, INTERVAL 1 MONTH)) AS BillingPeriodEnd,
  'Purchase' AS ChargeCategory,
  CAST(NULL AS STRING) AS ChargeClass,
  'Recurring' AS ChargeFrequency,
  CONCAT(plan_name, ' seats, ', billing_period) AS ChargeDescription,
  seats AS ConsumedQuantity,
  'Seat-Days' AS ConsumedUnit,
  seats AS PricingQuantity,
  'Seat-Days' AS PricingUnit,
  'AI and Machine Learning' AS ServiceCategory,
  'ChatGPT' AS ServiceName,
  'OpenAI' AS ProviderName,
  'OpenAI' AS PublisherName,
  'OpenAI' AS InvoiceIssuerName,
  'OpenAI' AS ServiceProviderName,
  'OpenAI' AS HostProviderName,
  plan_name AS SkuId,
  'seat' AS SkuMeter,
  CONCAT(
    plan_name, '/', billing_period, '@', FORMAT_DATE('%Y-%m-%d', price_effective_from),
    IF(price_is_override, '/own', '')
  ) AS SkuPriceId,
  CAST(NULL AS STRING) AS SubAccountId,
  CAST(NULL AS STRING) AS SubAccountName,
  CAST(NULL AS STRING) AS SubAccountType
FROM `{{ project }}.{{ dataset }}.openai_subscriptions_monthly`
CROSS JOIN
  UNNEST(GENERATE_DATE_ARRAY(period_start, DATE_SUB(period_end, INTERVAL 1 DAY))) AS day
  WITH OFFSET AS before

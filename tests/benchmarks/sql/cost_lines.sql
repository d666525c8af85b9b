-- A year of authoritative rows of one stream: 100 models in 20 projects on every day.
SELECT
  CAST('2025-11-01' AS DATE) + day::INTEGER AS x_UsageDate,
  'openai' AS x_Provider,
  'openai/api' AS x_CostStream,
  'charge' AS x_Money,
  'OpenAI API' AS ServiceName,
  'Usage' AS ChargeCategory,
  'model-' || model AS x_Model,
  'model-' || model AS SkuId,
  'output_tokens' AS SkuMeter,
  'proj_' || project AS SubAccountId,
  (1.25 + (model * project + day) / 1000)::DECIMAL(38, 9) AS BilledCost,
  (1.25 + (model * project + day) / 1000)::DECIMAL(38, 9) AS EffectiveCost,
  (2.5 + (model * project + day) / 1000)::DECIMAL(38, 9) AS ListCost,
  'USD' AS BillingCurrency,
  date_trunc('month', CAST('2025-11-01' AS DATE) + day::INTEGER)::TIMESTAMPTZ AS BillingPeriodStart,
  (date_trunc('month', CAST('2025-11-01' AS DATE) + day::INTEGER) + INTERVAL 1 MONTH)::TIMESTAMPTZ
    AS BillingPeriodEnd,
  'billed' AS x_Basis,
  'PRICED' AS x_PricingStatus,
  'direct' AS x_Attribution,
  'billed' AS x_Shown,
  'covers' AS x_BillState,
  'published' AS x_UsageState,
  'FINAL' AS x_Finality,
  'run_0123456789abcdef01234567' AS x_BillRunId,
  'run_0123456789abcdef01234567' AS x_UsageRunId
FROM range(365) AS days(day), range(100) AS models(model), range(20) AS projects(project)

-- The org's cost at a glance: one row per day, cost stream, basis and currency. It reads this dataset
-- alone, so that every account that may read the dataset can read it; the plan and its limits are in
-- the API's `GET quota/{org}`.
SELECT
  x_OrgSlug AS org_slug,
  x_UsageDate AS usage_date,
  x_Provider AS provider,
  x_CostStream AS stream,
  x_Money AS money,
  x_Basis AS basis,
  x_Shown AS shown,
  x_BillState AS bill_state,
  x_UsageState AS usage_state,
  x_Finality AS finality,
  BillingCurrency AS currency,
  SUM(BilledCost) AS billed_cost,
  SUM(EffectiveCost) AS effective_cost,
  SUM(ListCost) AS list_cost,
  SUM(x_Requests) AS requests,
  COUNTIF(x_PricingStatus = 'UNPRICED') AS unpriced_rows
FROM `{{ project }}.{{ dataset }}.cost_daily`
GROUP BY
  org_slug, usage_date, provider, stream, money, basis, shown, bill_state, usage_state, finality,
  currency

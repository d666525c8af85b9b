-- The org at a glance: its plan and limits beside each provider's daily cost, one row per day,
-- provider, basis and currency; a single row without cost while there is none.
WITH
  costs AS (
    SELECT
      x_UsageDate,
      x_Provider,
      x_Basis,
      BillingCurrency,
      x_Finality,
      SUM(ListCost) AS list_cost,
      SUM(EffectiveCost) AS effective_cost,
      SUM(ConsumedQuantity) AS consumed_quantity,
      SUM(x_Requests) AS requests,
      COUNTIF(x_PricingStatus = 'UNPRICED') AS unpriced_rows
    FROM `{{ project }}.{{ dataset }}.cost_daily`
    GROUP BY x_UsageDate, x_Provider, x_Basis, BillingCurrency, x_Finality
  )
SELECT
  profile.org_slug,
  profile.company_name,
  profile.admin_email,
  profile.dataset_id,
  profile.status AS org_status,
  profile.created_at AS onboarded_at,
  subscription.plan,
  subscription.status AS subscription_status,
  subscription.trial_ends_at,
  quota.runs_per_day,
  quota.runs_per_month,
  quota.concurrent_runs,
  quota.max_providers,
  quota.max_seats,
  costs.x_UsageDate AS usage_date,
  costs.x_Provider AS provider,
  costs.x_Basis AS basis,
  costs.BillingCurrency AS currency,
  costs.x_Finality AS finality,
  costs.list_cost,
  costs.effective_cost,
  costs.consumed_quantity,
  costs.requests,
  costs.unpriced_rows
FROM `{{ project }}.{{ central }}.org_profiles` AS profile
LEFT JOIN `{{ project }}.{{ central }}.org_subscriptions` AS subscription
  ON subscription.org_slug = profile.org_slug
LEFT JOIN `{{ project }}.{{ central }}.org_usage_quotas` AS quota
  ON quota.org_slug = profile.org_slug
LEFT JOIN costs
  ON TRUE
WHERE profile.org_slug = '{{ org_slug }}'

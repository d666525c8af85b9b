-- One row per org: everything that decides whether it may run a provider's pipelines.
WITH subscription AS (
  SELECT org_slug, plan, status, trial_ends_at
  FROM `{{ project }}.{{ central }}.org_subscriptions`
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY org_slug ORDER BY updated_at DESC, created_at DESC, subscription_id
  ) = 1
),
integration AS (
  SELECT org_slug, credential_id, validation_status, connected_on
  FROM `{{ project }}.{{ central }}.org_integration_credentials`
  WHERE provider = @provider AND status = 'ACTIVE'
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY org_slug ORDER BY created_at DESC, credential_id
  ) = 1
),
quota AS (
  SELECT org_slug, runs_per_day, runs_per_month, concurrent_runs
  FROM `{{ project }}.{{ central }}.org_usage_quotas`
  WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY org_slug ORDER BY updated_at DESC, created_at DESC) = 1
)
SELECT
  profile.org_slug AS org_slug,
  profile.status AS org_status,
  subscription.plan AS plan,
  subscription.status AS subscription_status,
  subscription.trial_ends_at AS trial_ends_at,
  integration.credential_id AS credential_id,
  integration.validation_status AS validation_status,
  integration.connected_on AS connected_on,
  quota.runs_per_day AS runs_per_day,
  quota.runs_per_month AS runs_per_month,
  quota.concurrent_runs AS concurrent_runs
FROM `{{ project }}.{{ central }}.org_profiles` AS profile
LEFT JOIN subscription ON subscription.org_slug = profile.org_slug
LEFT JOIN integration ON integration.org_slug = profile.org_slug
LEFT JOIN quota ON quota.org_slug = profile.org_slug
WHERE @every_org OR profile.org_slug IN UNNEST(@org_slugs)
ORDER BY org_slug

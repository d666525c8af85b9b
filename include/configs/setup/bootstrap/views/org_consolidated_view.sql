-- Each organization with what decides whether it may run, and how its last run went.
WITH
  subscription AS (
    SELECT org_slug, plan, status, trial_ends_at, period_end
    FROM `{{ project }}.{{ dataset }}.org_subscriptions`
    WHERE TRUE
    QUALIFY ROW_NUMBER() OVER (
      PARTITION BY org_slug ORDER BY updated_at DESC, created_at DESC, subscription_id
    ) = 1
  ),
  quota AS (
    SELECT org_slug, runs_per_day, runs_per_month, concurrent_runs, max_providers, max_seats
    FROM `{{ project }}.{{ dataset }}.org_usage_quotas`
    WHERE TRUE
    QUALIFY ROW_NUMBER() OVER (
      PARTITION BY org_slug ORDER BY updated_at DESC, created_at DESC
    ) = 1
  ),
  api_key AS (
    SELECT
      org_slug,
      COUNTIF(
        status = 'ACTIVE' AND (not_after IS NULL OR not_after > CURRENT_TIMESTAMP())
      ) AS active_keys,
      MAX(last_used_at) AS key_last_used_at
    FROM `{{ project }}.{{ dataset }}.org_api_keys`
    GROUP BY org_slug
  ),
  integration AS (
    SELECT
      org_slug,
      COUNT(DISTINCT provider) AS connected_providers,
      COUNT(DISTINCT IF(validation_status = 'VALID', provider, NULL)) AS valid_providers,
      STRING_AGG(DISTINCT provider, ', ' ORDER BY provider) AS providers
    FROM `{{ project }}.{{ dataset }}.org_integration_credentials`
    WHERE status = 'ACTIVE'
    GROUP BY org_slug
  ),
  last_run AS (
    SELECT org_slug, run_id, pipeline_id, status, recorded_at
    FROM `{{ project }}.{{ dataset }}.pipeline_logs_view`
    WHERE TRUE
    QUALIFY ROW_NUMBER() OVER (PARTITION BY org_slug ORDER BY recorded_at DESC, run_id) = 1
  )
SELECT
  profile.org_slug AS org_slug,
  profile.company_name AS company_name,
  profile.admin_email AS admin_email,
  profile.dataset_id AS dataset_id,
  profile.status AS org_status,
  profile.created_at AS created_at,
  subscription.plan AS plan,
  subscription.status AS subscription_status,
  subscription.trial_ends_at AS trial_ends_at,
  subscription.period_end AS period_end,
  profile.status = 'ACTIVE'
    AND (
      COALESCE(subscription.status = 'ACTIVE', FALSE)
      OR COALESCE(
        subscription.status = 'TRIAL' AND subscription.trial_ends_at > CURRENT_TIMESTAMP(), FALSE
      )
    ) AS may_run,
  quota.runs_per_day AS runs_per_day,
  quota.runs_per_month AS runs_per_month,
  quota.concurrent_runs AS concurrent_runs,
  quota.max_providers AS max_providers,
  quota.max_seats AS max_seats,
  COALESCE(api_key.active_keys, 0) AS active_keys,
  api_key.key_last_used_at AS key_last_used_at,
  COALESCE(integration.connected_providers, 0) AS connected_providers,
  COALESCE(integration.valid_providers, 0) AS valid_providers,
  integration.providers AS providers,
  last_run.run_id AS last_run_id,
  last_run.pipeline_id AS last_run_pipeline_id,
  last_run.status AS last_run_status,
  last_run.recorded_at AS last_run_recorded_at
FROM `{{ project }}.{{ dataset }}.org_profiles` AS profile
LEFT JOIN subscription ON subscription.org_slug = profile.org_slug
LEFT JOIN quota ON quota.org_slug = profile.org_slug
LEFT JOIN api_key ON api_key.org_slug = profile.org_slug
LEFT JOIN integration ON integration.org_slug = profile.org_slug
LEFT JOIN last_run ON last_run.org_slug = profile.org_slug

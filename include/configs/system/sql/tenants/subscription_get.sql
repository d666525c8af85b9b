SELECT
  org_slug, subscription_id, plan, status, trial_ends_at, period_start, period_end, created_at,
  updated_at
FROM `{{ project }}.{{ central }}.org_subscriptions`
WHERE org_slug = @org_slug
ORDER BY updated_at DESC, created_at DESC, subscription_id
LIMIT 1

SELECT org_slug, plan, runs_per_day, runs_per_month, concurrent_runs, max_providers, max_seats
FROM `{{ project }}.{{ central }}.org_usage_quotas`
WHERE org_slug = @org_slug
ORDER BY updated_at DESC, created_at DESC
LIMIT 1

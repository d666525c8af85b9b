MERGE `{{ project }}.{{ central }}.org_usage_quotas` AS quota
USING (SELECT @org_slug AS org_slug) AS incoming
ON quota.org_slug = incoming.org_slug
WHEN MATCHED THEN
  UPDATE SET
    plan = @plan,
    runs_per_day = @runs_per_day,
    runs_per_month = @runs_per_month,
    concurrent_runs = @concurrent_runs,
    max_providers = @max_providers,
    max_seats = @max_seats,
    updated_at = @now
WHEN NOT MATCHED THEN
  INSERT (
    org_slug, plan, runs_per_day, runs_per_month, concurrent_runs, max_providers, max_seats,
    created_at, updated_at
  )
  VALUES (
    @org_slug, @plan, @runs_per_day, @runs_per_month, @concurrent_runs, @max_providers,
    @max_seats, @now, @now
  )

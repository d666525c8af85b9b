UPDATE `{{ project }}.{{ central }}.org_subscriptions`
SET plan = @plan, status = @status, trial_ends_at = @trial_ends_at, updated_at = @now
WHERE org_slug = @org_slug

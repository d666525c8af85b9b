-- An org that has a subscription keeps it: onboarding may be resumed after an admin changed it.
MERGE `{{ project }}.{{ central }}.org_subscriptions` AS subscription
USING (SELECT @org_slug AS org_slug) AS incoming
ON subscription.org_slug = incoming.org_slug
WHEN NOT MATCHED THEN
  INSERT (
    org_slug, subscription_id, plan, status, trial_ends_at, period_start, created_at, updated_at
  )
  VALUES (
    @org_slug, CONCAT('sub_', @org_slug), @plan, @status, @trial_ends_at, @now, @now, @now
  )

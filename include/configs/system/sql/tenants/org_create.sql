-- Add an org's profile unless it has one: onboarding may be resumed.
MERGE `{{ project }}.{{ central }}.org_profiles` AS profile
USING (SELECT @org_slug AS org_slug) AS incoming
ON profile.org_slug = incoming.org_slug
WHEN NOT MATCHED THEN
  INSERT (org_slug, company_name, admin_email, dataset_id, status, created_at, updated_at)
  VALUES (@org_slug, @company_name, @admin_email, @dataset_id, 'ACTIVE', @now, @now)

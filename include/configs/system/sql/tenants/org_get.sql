SELECT org_slug, company_name, admin_email, dataset_id, status, created_at
FROM `{{ project }}.{{ central }}.org_profiles`
WHERE org_slug = @org_slug

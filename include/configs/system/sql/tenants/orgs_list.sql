SELECT org_slug, company_name, admin_email, dataset_id, status, created_at
FROM `{{ project }}.{{ central }}.org_profiles`
ORDER BY org_slug

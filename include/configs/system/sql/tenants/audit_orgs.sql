SELECT DISTINCT org_slug
FROM `{{ project }}.{{ central }}.org_audit_logs`
WHERE occurred_at >= @since

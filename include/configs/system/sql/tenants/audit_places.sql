-- The entries that stand in these places of these orgs' chains.
SELECT DISTINCT org_slug, sequence, audit_id
FROM `{{ project }}.{{ central }}.org_audit_logs`
WHERE occurred_at >= @since AND org_slug IN UNNEST(@orgs) AND sequence IN UNNEST(@places)

-- Where each org's chain ends.
SELECT org_slug, sequence, entry_hash
FROM `{{ project }}.{{ central }}.org_audit_logs`
WHERE occurred_at >= @since AND sequence IS NOT NULL
QUALIFY ROW_NUMBER() OVER (PARTITION BY org_slug ORDER BY sequence DESC, audit_id) = 1
ORDER BY org_slug

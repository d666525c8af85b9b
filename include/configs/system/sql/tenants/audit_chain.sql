SELECT
  org_slug, audit_id, occurred_at, actor, actor_type, action, target, result, request_id, address,
  details, sequence, previous_hash, entry_hash
FROM `{{ project }}.{{ central }}.org_audit_logs`
WHERE org_slug = @org_slug AND occurred_at >= @since
ORDER BY sequence

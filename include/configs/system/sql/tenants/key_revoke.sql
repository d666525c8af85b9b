UPDATE `{{ project }}.{{ central }}.org_api_keys`
SET status = 'REVOKED', revoked_at = @now
WHERE org_slug = @org_slug AND key_id = @key_id AND status = 'ACTIVE'

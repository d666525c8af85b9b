UPDATE `{{ project }}.{{ central }}.org_api_keys`
SET last_used_at = @used_at
WHERE key_id IN UNNEST(@key_ids) AND (last_used_at IS NULL OR last_used_at < @used_at)

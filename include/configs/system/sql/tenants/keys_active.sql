SELECT org_slug, key_id, key_hash, scopes, not_after
FROM `{{ project }}.{{ central }}.org_api_keys`
WHERE status = 'ACTIVE'

SELECT
  key_id, org_slug, last_four, scopes, status, created_at, not_after, revoked_at, last_used_at,
  kms_key_version
FROM `{{ project }}.{{ central }}.org_api_keys`
WHERE org_slug = @org_slug
ORDER BY created_at DESC, key_id

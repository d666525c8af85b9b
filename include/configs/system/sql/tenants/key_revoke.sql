-- Support opens active keys only: a revoked one keeps no ciphertext.
UPDATE `{{ project }}.{{ central }}.org_api_keys`
SET status = 'REVOKED', revoked_at = @now, key_ciphertext = NULL
WHERE org_slug = @org_slug AND key_id = @key_id AND status = 'ACTIVE'

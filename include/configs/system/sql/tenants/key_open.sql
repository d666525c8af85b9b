-- A key's ciphertext, while the key opens its org.
SELECT key_hash, key_ciphertext
FROM `{{ project }}.{{ central }}.org_api_keys`
WHERE org_slug = @org_slug AND key_id = @key_id AND status = 'ACTIVE'
  AND (not_after IS NULL OR not_after > @now) AND key_ciphertext IS NOT NULL

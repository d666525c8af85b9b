-- An org's ciphertexts under another version than @version; the owner's names that bind each.
SELECT 'credential' AS kind, credential_id AS id, provider, ciphertext
FROM `{{ project }}.{{ central }}.org_integration_credentials`
WHERE org_slug = @org_slug AND ciphertext IS NOT NULL
  AND COALESCE(kms_key_version, '') != @version
UNION ALL
SELECT 'api_key' AS kind, key_id AS id, '' AS provider, key_ciphertext AS ciphertext
FROM `{{ project }}.{{ central }}.org_api_keys`
WHERE org_slug = @org_slug AND key_ciphertext IS NOT NULL
  AND COALESCE(kms_key_version, '') != @version
ORDER BY kind, id

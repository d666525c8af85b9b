SELECT credential_id, ciphertext
FROM `{{ project }}.{{ central }}.org_integration_credentials`
WHERE org_slug = @org_slug AND provider = @provider AND status = 'ACTIVE'
ORDER BY created_at DESC, credential_id
LIMIT 1

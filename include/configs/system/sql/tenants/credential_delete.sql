UPDATE `{{ project }}.{{ central }}.org_integration_credentials`
SET status = 'DELETED', ciphertext = NULL, updated_at = @now
WHERE org_slug = @org_slug AND provider = @provider AND status = 'ACTIVE'

SELECT
  org_slug, credential_id, provider, credential_name, fingerprint, validation_status,
  last_validated_at, validation_error, connected_on, kms_key_version, created_at,
  updated_at
FROM `{{ project }}.{{ central }}.org_integration_credentials`
WHERE org_slug = @org_slug AND status = 'ACTIVE'
QUALIFY ROW_NUMBER() OVER (PARTITION BY provider ORDER BY created_at DESC, credential_id) = 1
ORDER BY provider

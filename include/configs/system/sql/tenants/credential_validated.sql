UPDATE `{{ project }}.{{ central }}.org_integration_credentials`
SET
  validation_status = @validation_status,
  validation_error = @validation_error,
  last_validated_at = @now,
  updated_at = @now
WHERE org_slug = @org_slug AND credential_id = @credential_id AND status = 'ACTIVE'

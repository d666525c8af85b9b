-- One statement: the new credential is there and the old one's ciphertext gone, or neither.
MERGE `{{ project }}.{{ central }}.org_integration_credentials` AS stored
USING (
  SELECT
    @credential_id AS credential_id,
    LEAST(
      @today,
      COALESCE(
        (
          SELECT MIN(earlier.connected_on)
          FROM `{{ project }}.{{ central }}.org_integration_credentials` AS earlier
          WHERE earlier.org_slug = @org_slug AND earlier.provider = @provider
        ),
        @today
      )
    ) AS connected_on
) AS incoming
ON stored.credential_id = incoming.credential_id
WHEN NOT MATCHED BY TARGET THEN
  INSERT (
    org_slug, credential_id, provider, credential_name, ciphertext, kms_key_version, fingerprint,
    validation_status, last_validated_at, validation_error, status, connected_on, created_at,
    updated_at
  )
  VALUES (
    @org_slug, incoming.credential_id, @provider, @credential_name, @ciphertext, @kms_key_version,
    @fingerprint, @validation_status, @now, @validation_error, 'ACTIVE', incoming.connected_on, @now,
    @now
  )
WHEN NOT MATCHED BY SOURCE
  AND stored.org_slug = @org_slug AND stored.provider = @provider AND stored.status = 'ACTIVE'
THEN
  UPDATE SET status = 'DELETED', ciphertext = NULL, updated_at = @now

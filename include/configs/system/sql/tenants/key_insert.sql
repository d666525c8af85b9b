-- MERGE, so that a statement whose answer was lost may be sent again.
MERGE `{{ project }}.{{ central }}.org_api_keys` AS stored
USING (SELECT @key_id AS key_id) AS incoming
ON stored.key_id = incoming.key_id
WHEN NOT MATCHED THEN
  INSERT (
    org_slug, key_id, key_hash, key_ciphertext, kms_key_version, last_four, scopes, status,
    created_at, created_by, not_after
  )
  VALUES (
    @org_slug, @key_id, @key_hash, @key_ciphertext, @kms_key_version, @last_four, @scopes,
    'ACTIVE', @now, @created_by, @not_after
  )

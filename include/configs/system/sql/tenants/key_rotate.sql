-- One statement: the new key is there and the old one's end is set, or neither. Sent again after
-- its answer was lost, it changes nothing.
MERGE `{{ project }}.{{ central }}.org_api_keys` AS stored
USING (SELECT key_id FROM UNNEST([@key_id, @old_key_id]) AS key_id) AS given
ON stored.key_id = given.key_id AND stored.org_slug = @org_slug
WHEN MATCHED AND stored.key_id = @old_key_id AND stored.status = 'ACTIVE' THEN
  UPDATE SET not_after = @old_not_after
WHEN NOT MATCHED AND given.key_id = @key_id THEN
  INSERT (
    org_slug, key_id, key_hash, key_ciphertext, kms_key_version, last_four, scopes, status,
    created_at, created_by, not_after
  )
  VALUES (
    @org_slug, @key_id, @key_hash, @key_ciphertext, @kms_key_version, @last_four, @scopes,
    'ACTIVE', @now, @created_by, @not_after
  )

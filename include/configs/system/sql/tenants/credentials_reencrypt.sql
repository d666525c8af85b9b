-- Only what still is as it was read: a credential replaced or removed meanwhile stays as it is.
MERGE `{{ project }}.{{ central }}.org_integration_credentials` AS stored
USING UNNEST(@fresh) AS fresh
ON stored.org_slug = @org_slug AND stored.credential_id = fresh.id
  AND stored.ciphertext = fresh.before
WHEN MATCHED THEN
  UPDATE SET ciphertext = fresh.ciphertext, kms_key_version = fresh.kms_key_version

-- Only what still is as it was read: a key revoked meanwhile stays as it is.
MERGE `{{ project }}.{{ central }}.org_api_keys` AS stored
USING UNNEST(@fresh) AS fresh
ON stored.org_slug = @org_slug AND stored.key_id = fresh.id AND stored.key_ciphertext = fresh.before
WHEN MATCHED THEN
  UPDATE SET key_ciphertext = fresh.ciphertext, kms_key_version = fresh.kms_key_version

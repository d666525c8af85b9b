-- The orgs that have a ciphertext under another version than @version, and how many each has.
SELECT org_slug, COUNT(*) AS ciphertexts
FROM (
  SELECT org_slug
  FROM `{{ project }}.{{ central }}.org_integration_credentials`
  WHERE ciphertext IS NOT NULL AND COALESCE(kms_key_version, '') != @version
  UNION ALL
  SELECT org_slug
  FROM `{{ project }}.{{ central }}.org_api_keys`
  WHERE key_ciphertext IS NOT NULL AND COALESCE(kms_key_version, '') != @version
)
GROUP BY org_slug
ORDER BY org_slug

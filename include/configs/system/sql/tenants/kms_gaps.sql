-- Differences between ciphertexts and the register: a ciphertext under another version than its newest
-- row, a ciphertext without a row, or a row without a ciphertext.
WITH
  subject AS (
    SELECT org_slug, 'credential' AS subject_type, credential_id AS subject_id, kms_key_version
    FROM `{{ project }}.{{ central }}.org_integration_credentials`
    WHERE ciphertext IS NOT NULL AND kms_key_version IS NOT NULL
      AND (@every OR org_slug IN UNNEST(@orgs))
    UNION ALL
    SELECT org_slug, 'api_key' AS subject_type, key_id AS subject_id, kms_key_version
    FROM `{{ project }}.{{ central }}.org_api_keys`
    WHERE key_ciphertext IS NOT NULL AND kms_key_version IS NOT NULL
      AND (@every OR org_slug IN UNNEST(@orgs))
  ),
  newest AS (
    SELECT org_slug, subject_type, subject_id, kms_key_version, status
    FROM `{{ project }}.{{ central }}.org_kms_keys`
    WHERE recorded_at >= @since AND (@every OR org_slug IN UNNEST(@orgs))
    QUALIFY ROW_NUMBER() OVER (
      PARTITION BY org_slug, subject_type, subject_id ORDER BY recorded_at DESC, status DESC
    ) = 1
  ),
  registered AS (
    SELECT org_slug, subject_type, subject_id, kms_key_version
    FROM newest
    WHERE status = 'CURRENT'
  )
SELECT
  COALESCE(subject.org_slug, registered.org_slug) AS org_slug,
  COALESCE(subject.subject_type, registered.subject_type) AS subject_type,
  COALESCE(subject.subject_id, registered.subject_id) AS subject_id,
  subject.kms_key_version AS kms_key_version,
  registered.kms_key_version AS registered_version
FROM subject
FULL OUTER JOIN registered
  ON registered.org_slug = subject.org_slug AND registered.subject_type = subject.subject_type
  AND registered.subject_id = subject.subject_id
WHERE COALESCE(subject.kms_key_version, '') != COALESCE(registered.kms_key_version, '')
ORDER BY org_slug, subject_type, subject_id

-- What each KMS key version protects, by org and kind; since when, as far as the register knows.
WITH
  subject AS (
    SELECT org_slug, 'credential' AS kind, credential_id AS id, kms_key_version
    FROM `{{ project }}.{{ central }}.org_integration_credentials`
    WHERE ciphertext IS NOT NULL AND (@every OR org_slug IN UNNEST(@orgs))
    UNION ALL
    SELECT org_slug, 'api_key' AS kind, key_id AS id, kms_key_version
    FROM `{{ project }}.{{ central }}.org_api_keys`
    WHERE key_ciphertext IS NOT NULL AND (@every OR org_slug IN UNNEST(@orgs))
  ),
  registered AS (
    SELECT org_slug, subject_type, subject_id, kms_key_version, MIN(recorded_at) AS since
    FROM `{{ project }}.{{ central }}.org_kms_keys`
    WHERE recorded_at >= @since AND status = 'CURRENT'
      AND (@every OR org_slug IN UNNEST(@orgs))
    GROUP BY org_slug, subject_type, subject_id, kms_key_version
  )
SELECT
  subject.org_slug AS org_slug,
  subject.kind AS kind,
  COALESCE(subject.kms_key_version, '') AS kms_key_version,
  ARRAY_AGG(subject.id ORDER BY subject.id) AS ids,
  MIN(registered.since) AS since
FROM subject
LEFT JOIN registered
  ON registered.org_slug = subject.org_slug AND registered.subject_type = subject.kind
  AND registered.subject_id = subject.id AND registered.kms_key_version = subject.kms_key_version
GROUP BY subject.org_slug, subject.kind, subject.kms_key_version
ORDER BY org_slug, kms_key_version, kind

-- Each org's present settings of its pipelines, of orgs that have not been removed.
SELECT
  config.org_slug AS org_slug, config.pipeline_id AS pipeline_id, config.dag_id AS dag_id,
  config.provider AS provider, config.enabled AS enabled, config.schedule AS schedule,
  config.timezone AS timezone, config.params AS params, config.next_due_at AS next_due_at,
  config.updated_at AS updated_at, config.updated_by AS updated_by
FROM `{{ project }}.{{ central }}.org_pipeline_configs` AS config
JOIN `{{ project }}.{{ central }}.org_profiles` AS profile ON profile.org_slug = config.org_slug
WHERE profile.status != 'DELETED' AND config.dag_id IS NOT NULL AND config.updated_at IS NOT NULL
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY config.org_slug, config.pipeline_id ORDER BY config.updated_at DESC
) = 1
ORDER BY org_slug, pipeline_id

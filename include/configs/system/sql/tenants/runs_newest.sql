-- Runs as they stand, of orgs that are still there; what happened at one instant, in its order.
SELECT
  run.org_slug AS org_slug, run.run_id AS run_id,
  SUBSTR(run.pipeline_id, LENGTH(run.org_slug) + 2) AS pipeline_id, run.dag_id AS dag_id,
  run.dag_run_id AS dag_run_id, run.trigger AS trigger, run.status AS status, run.days AS days,
  run.request_id AS request_id, run.requested_by AS requested_by, run.error_code AS error_code,
  run.error_message AS error_message, run.started_at AS started_at, run.ended_at AS ended_at,
  COALESCE(run.created_at, run.started_at, run.recorded_at) AS created_at, run.params AS params,
  COALESCE(run.debited, TRUE) AS debited
FROM (
  SELECT *
  FROM `{{ project }}.{{ central }}.org_meta_pipeline_runs`
  WHERE recorded_at >= @since
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY run_id
    ORDER BY
      recorded_at DESC,
      CASE status WHEN 'PENDING' THEN 0 WHEN 'QUEUED' THEN 1 WHEN 'RUNNING' THEN 2 ELSE 3 END DESC
  ) = 1
) AS run
JOIN `{{ project }}.{{ central }}.org_profiles` AS profile ON profile.org_slug = run.org_slug
WHERE run.dag_id IS NOT NULL AND run.dag_run_id IS NOT NULL AND profile.status != 'DELETED'

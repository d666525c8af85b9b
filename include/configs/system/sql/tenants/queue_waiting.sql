-- Entries that wait: those that no row says have left the queue, of orgs that are still there.
SELECT
  entry.org_slug AS org_slug, entry.queue_id AS queue_id, entry.pipeline_id AS pipeline_id,
  entry.dag_id AS dag_id, entry.provider AS provider, entry.days AS days, entry.params AS params,
  entry.trigger AS trigger, entry.priority AS priority, entry.requested_by AS requested_by,
  entry.request_id AS request_id, entry.debited AS debited, entry.follows AS follows,
  entry.schedule AS schedule, entry.due_at AS due_at, entry.enqueued_at AS enqueued_at
FROM (
  SELECT *
  FROM `{{ project }}.{{ central }}.org_pipeline_execution_queue`
  WHERE recorded_at >= @since
  QUALIFY ROW_NUMBER() OVER (
    PARTITION BY queue_id ORDER BY IF(status = 'QUEUED', 1, 0), recorded_at DESC
  ) = 1
) AS entry
JOIN `{{ project }}.{{ central }}.org_profiles` AS profile ON profile.org_slug = entry.org_slug
WHERE entry.status = 'QUEUED' AND entry.dag_id IS NOT NULL AND profile.status != 'DELETED'
ORDER BY enqueued_at, queue_id

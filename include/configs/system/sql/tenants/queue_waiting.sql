-- Waiting entries: no row says that they left the queue, and their org still exists. All columns of
-- the log are selected; the declaration of the queue's row decides which of them are restored.
SELECT entry.*
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

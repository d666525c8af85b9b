-- Usage days that have rows exported since a moment, and how many until when. Runs in the
-- customer's project. Rows are never changed there: count and time tell whether there are new ones.
SELECT
  DATE(usage_start_time) AS usage_date,
  COUNT(*) AS row_count,
  MAX(export_time) AS exported_at
FROM `{{ export_project }}.{{ export_dataset }}.{{ export_table }}`
WHERE export_time >= @since
  {% if partition_column %}AND {{ partition_column }} >= @partitions_from{% endif %}
GROUP BY usage_date

-- Whole usage days (UTC) as they were exported so far. Runs in the customer's project. Nothing is
-- taken for a duplicate: rows that look alike are several charges.
SELECT
  DATE(usage_start_time) AS usage_date,
  {% for column in columns %}`{{ column }}`{% if not loop.last %},{% endif %}
  {% endfor %}
FROM `{{ export_project }}.{{ export_dataset }}.{{ export_table }}`
WHERE usage_start_time >= @first
  AND usage_start_time < @after
  AND DATE(usage_start_time) IN UNNEST(@days)
  {% if partition_column %}AND {{ partition_column }} >= @partitions_from{% endif %}

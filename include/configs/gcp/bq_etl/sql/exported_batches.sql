-- What an export holds of some usage days, by account and time of export. Runs in the customer's
-- project, for days that our copy has rows of. The gross amount is as in copied_batches.sql.
SELECT
  DATE(usage_start_time) AS usage_date,
  billing_account_id,
  export_time,
  currency,
  CAST(
    SUM(
      IF(
        TRUE
        {% if cost_type_column %}AND cost_type = 'regular'{% endif %}
        {% if adjustment_column %}AND adjustment_info.id IS NULL{% endif %},
        CAST(cost AS BIGNUMERIC),
        0
      )
    ) AS NUMERIC
  ) AS gross
FROM `{{ export_project }}.{{ export_dataset }}.{{ export_table }}`
WHERE usage_start_time >= @first
  AND usage_start_time < @after
  AND DATE(usage_start_time) IN UNNEST(@days)
  {% if partition_column %}AND {{ partition_column }} >= @partitions_from{% endif %}
GROUP BY usage_date, billing_account_id, export_time, currency

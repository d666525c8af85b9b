-- What our copy holds of some usage days, by account, export and time of export. The gross amount
-- is the cost of usage, without credits and corrections.
SELECT
  usage_date,
  billing_account_id,
  source_table,
  source_created_at,
  export_time,
  currency,
  CAST(
    SUM(IF(cost_type = 'regular' AND adjustment_info.id IS NULL, CAST(cost AS BIGNUMERIC), 0))
    AS NUMERIC
  ) AS gross
FROM `{{ project }}.{{ dataset }}.{{ raw_table }}`
WHERE usage_date IN UNNEST(@days)
GROUP BY usage_date, billing_account_id, source_table, source_created_at, export_time, currency

-- When each of a table's day partitions was last written, and how many rows it holds.
SELECT
  partition_id,
  total_rows,
  last_modified_time
FROM `{{ project }}.{{ dataset }}.INFORMATION_SCHEMA.PARTITIONS`
WHERE table_name = @table
  AND partition_id IN UNNEST(@partitions)

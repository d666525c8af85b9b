-- When each table's rows were last written, and how many it holds. A table without partitions has one
-- row here, whose partition_id is null; a table with partitions has none while it is empty.
SELECT
  table_name,
  SUM(total_rows) AS total_rows,
  MAX(last_modified_time) AS last_modified_time
FROM `{{ project }}.{{ dataset }}.INFORMATION_SCHEMA.PARTITIONS`
WHERE table_name IN UNNEST(@tables)
GROUP BY table_name

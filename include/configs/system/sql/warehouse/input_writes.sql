-- When the tables that a query reads were last written, and how many rows they hold: of @daily the
-- given partitions, of @whole each table as one. A table without partitions has one row in the view,
-- whose partition_id is null; a table with partitions has none while it is empty.
SELECT
  table_name,
  IF(table_name IN UNNEST(@daily), partition_id, NULL) AS slice_partition,
  SUM(total_rows) AS total_rows,
  MAX(last_modified_time) AS last_modified_time
FROM `{{ project }}.{{ dataset }}.INFORMATION_SCHEMA.PARTITIONS`
WHERE
  (table_name IN UNNEST(@daily) AND partition_id IN UNNEST(@partitions))
  OR table_name IN UNNEST(@whole)
GROUP BY table_name, slice_partition

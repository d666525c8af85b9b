-- What is published of the rows exported since a moment, by usage day.
SELECT usage_date, COUNT(*) AS row_count, MAX(export_time) AS exported_at
FROM `{{ project }}.{{ dataset }}.{{ raw_table }}`
WHERE export_time >= @since AND source_table = @source_table
GROUP BY usage_date

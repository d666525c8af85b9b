-- Usage days that our copy has from exports that are no longer preferred.
SELECT DISTINCT usage_date, source_table
FROM `{{ project }}.{{ dataset }}.{{ raw_table }}`
WHERE source_table IN UNNEST(@tables)

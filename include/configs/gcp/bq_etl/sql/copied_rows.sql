-- Rows of our copy of some usage days.
SELECT *
FROM `{{ project }}.{{ dataset }}.{{ raw_table }}`
WHERE usage_date IN UNNEST(@days)

-- Rows of each day; the days before those that are checked are among them.
SELECT `{{ day_column }}` AS slice_day, '' AS subject, COUNT(*) AS row_count
FROM `{{ project }}.{{ dataset }}.{{ table }}`
WHERE `{{ day_column }}` IN UNNEST(@days)
{%- for column in filters %}
  AND CAST(`{{ column }}` AS STRING) = @filters[OFFSET({{ loop.index0 }})]
{%- endfor %}
GROUP BY slice_day

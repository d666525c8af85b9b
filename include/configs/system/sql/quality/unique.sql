-- Rows of each day that repeat an earlier one in all of the columns.
SELECT
  slice_day,
  '{{ columns | join(", ") }}' AS subject,
  SUM(alike) AS row_count,
  SUM(alike - 1) AS failing_rows
FROM (
  SELECT `{{ day_column }}` AS slice_day, COUNT(*) AS alike
  FROM `{{ project }}.{{ dataset }}.{{ table }}`
  WHERE `{{ day_column }}` IN UNNEST(@days)
  {%- for column in filters %}
    AND CAST(`{{ column }}` AS STRING) = @filters[OFFSET({{ loop.index0 }})]
  {%- endfor %}
  GROUP BY `{{ day_column }}`
  {%- for column in columns if column != day_column %}, `{{ column }}`{% endfor %}
)
GROUP BY slice_day

-- Rows of each day without a value, column by column.
SELECT slice_day, checked.subject, row_count, checked.failing_rows
FROM (
  SELECT
    `{{ day_column }}` AS slice_day,
    COUNT(*) AS row_count,
    [
      {%- for column in columns %}
      STRUCT('{{ column }}' AS subject, COUNTIF(`{{ column }}` IS NULL) AS failing_rows)
      {{- "," if not loop.last }}
      {%- endfor %}
    ] AS checks
  FROM `{{ project }}.{{ dataset }}.{{ table }}`
  WHERE `{{ day_column }}` IN UNNEST(@days)
  {%- for column in filters %}
    AND CAST(`{{ column }}` AS STRING) = @filters[OFFSET({{ loop.index0 }})]
  {%- endfor %}
  GROUP BY slice_day
), UNNEST(checks) AS checked

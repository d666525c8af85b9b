-- Both sides' sums by day and group; a group that one side lacks is nothing there. Every value
-- becomes NUMERIC before it is added.
WITH
  left_sums AS (
    SELECT
      `{{ left_day_column }}` AS slice_day,
      ARRAY_TO_STRING(
        [{% for column in left_by %}IFNULL(CAST(`{{ column }}` AS STRING), 'none'), {% endfor %}''],
        ' / '
      ) AS subject,
      {% for column in left_columns %}IFNULL(SUM(CAST(`{{ column }}` AS NUMERIC)), 0){{ " + " if not loop.last }}{% endfor %} AS total
    FROM `{{ project }}.{{ dataset }}.{{ left_table }}`
    WHERE `{{ left_day_column }}` IN UNNEST(@days)
    {%- for column in left_filters %}
      AND CAST(`{{ column }}` AS STRING) = @left_filters[OFFSET({{ loop.index0 }})]
    {%- endfor %}
    GROUP BY slice_day, subject
  ),
  right_sums AS (
    SELECT
      `{{ right_day_column }}` AS slice_day,
      ARRAY_TO_STRING(
        [{% for column in right_by %}IFNULL(CAST(`{{ column }}` AS STRING), 'none'), {% endfor %}''],
        ' / '
      ) AS subject,
      {% for column in right_columns %}IFNULL(SUM(CAST(`{{ column }}` AS NUMERIC)), 0){{ " + " if not loop.last }}{% endfor %} AS total
    FROM `{{ project }}.{{ dataset }}.{{ right_table }}`
    WHERE `{{ right_day_column }}` IN UNNEST(@days)
    {%- for column in right_filters %}
      AND CAST(`{{ column }}` AS STRING) = @right_filters[OFFSET({{ loop.index0 }})]
    {%- endfor %}
    GROUP BY slice_day, subject
  )
SELECT
  slice_day,
  subject,
  IFNULL(left_sums.total, 0) AS left_total,
  IFNULL(right_sums.total, 0) AS right_total
FROM left_sums
FULL OUTER JOIN right_sums USING (slice_day, subject)

-- Days whose stored cost a change of defaults would alter: priced with one that changes, by a name
-- farther off than one that comes, or without a price where one comes. Usage priced at the org's own
-- rates keeps its cost. Whether a day's sum differs in the end only pricing it again can tell.
SELECT DISTINCT cost.usage_date AS day
FROM `{{ project }}.{{ dataset }}.{{ cost_table }}` AS cost
JOIN UNNEST(@changes) AS change
  ON
    cost.usage_date BETWEEN change.first_day AND change.last_day
    AND cost.priced_tier = change.service_tier
    AND (
      cost.price_model_id = change.model_id
      OR (cost.price_match != 'model' AND cost.model = change.model_id)
      OR (
        cost.price_model_id IS NULL
        AND (
          STARTS_WITH(cost.model, change.model_id)
          OR STARTS_WITH(cost.{{ tool_column }}, change.model_id)
        )
      )
    )
    {% if window_columns %}
    AND (
      change.context_window = 'any'
      {% for column in window_columns %}
      OR cost.{{ column }} = change.context_window
      {% endfor %}
    )
    {% endif %}
WHERE
  cost.usage_date BETWEEN @first_day AND @last_day
  AND NOT COALESCE(cost.price_is_override, FALSE)
ORDER BY day

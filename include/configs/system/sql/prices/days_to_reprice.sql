-- Days whose stored cost may differ with the new defaults: they were priced with a default that
-- changes, or by a more distant name than one that is new, or have no price and get one. Usage priced
-- at the org's own rates keeps its cost. Only pricing a day again shows whether its sum differs.
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

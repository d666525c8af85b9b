-- An org's own rate from a day on. The one before it ends on that day and stays as history.
MERGE `{{ project }}.{{ dataset }}.{{ pricing_table }}` AS kept
USING (SELECT * FROM UNNEST(@prices)) AS own
ON
  kept.is_override
  {% for key in keys %}
  AND kept.{{ key }} = own.{{ key }}
  {% endfor %}
WHEN MATCHED THEN
  UPDATE SET
    {% for value in values %}
    {{ value }} = own.{{ value }},
    {% endfor %}
    updated_at = @now
WHEN NOT MATCHED THEN
  INSERT (
    {% for name in keys + values %}
    {{ name }},
    {% endfor %}
    is_override, updated_at
  )
  VALUES (
    {% for name in keys + values %}
    own.{{ name }},
    {% endfor %}
    TRUE, @now
  );

UPDATE `{{ project }}.{{ dataset }}.{{ pricing_table }}`
SET effective_to = @effective_from, updated_at = @now
WHERE
  is_override AND model_id = @model_id AND service_tier = @service_tier
  AND effective_from < @effective_from
  AND (effective_to IS NULL OR effective_to > @effective_from);

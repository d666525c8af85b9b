-- An org's own terms from a day on. Those before them end on that day and stay as history. One
-- statement: the new ones are there and the old ones ended, or neither.
MERGE `{{ project }}.{{ dataset }}.{{ table }}` AS kept
USING (SELECT * FROM UNNEST(@terms) CROSS JOIN UNNEST(['OWN', 'BEFORE']) AS part) AS own
ON
  kept.is_override
  {% for column in sku %}
  AND kept.{{ column }} = own.{{ column }}
  {% endfor %}
  AND (
    (own.part = 'OWN' AND kept.effective_from = own.effective_from)
    OR (
      own.part = 'BEFORE' AND kept.effective_from < own.effective_from
      AND (kept.effective_to IS NULL OR kept.effective_to > own.effective_from)
    )
  )
WHEN MATCHED AND own.part = 'OWN' THEN
  UPDATE SET
    {% for value in values %}
    {{ value }} = own.{{ value }},
    {% endfor %}
    updated_at = @now
WHEN MATCHED THEN
  UPDATE SET effective_to = own.effective_from, updated_at = @now
WHEN NOT MATCHED BY TARGET AND own.part = 'OWN' THEN
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
  )

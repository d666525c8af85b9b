-- Bring an org's default terms up to their book; what the org maintains itself stays.
-- A row is written only when something in it changed, so that a second load changes nothing.
MERGE `{{ project }}.{{ dataset }}.{{ table }}` AS kept
USING (SELECT * FROM UNNEST(@terms)) AS book
ON
  NOT kept.is_override
  {% for key in keys %}
  AND kept.{{ key }} = book.{{ key }}
  {% endfor %}
WHEN MATCHED AND (
  {% for value in values %}
  {% if not loop.first %}OR {% endif %}kept.{{ value }} IS DISTINCT FROM book.{{ value }}
  {% endfor %}
) THEN
  UPDATE SET
    {% for value in values %}
    {{ value }} = book.{{ value }},
    {% endfor %}
    updated_at = @now
WHEN NOT MATCHED BY TARGET THEN
  INSERT (
    {% for name in keys + values %}
    {{ name }},
    {% endfor %}
    is_override, updated_at
  )
  VALUES (
    {% for name in keys + values %}
    book.{{ name }},
    {% endfor %}
    FALSE, @now
  )
WHEN NOT MATCHED BY SOURCE AND NOT kept.is_override THEN
  DELETE

-- Terms of one model or plan, or of all; those in force on a day, or with their whole history.
SELECT *
FROM `{{ project }}.{{ dataset }}.{{ table }}`
WHERE
  (@name = '' OR {{ sku[0] }} = @name)
  AND (
    @whole_history
    OR (effective_from <= @day AND (effective_to IS NULL OR effective_to > @day))
  )
ORDER BY
  {% for column in sku %}
  {{ column }},
  {% endfor %}
  is_override, effective_from DESC

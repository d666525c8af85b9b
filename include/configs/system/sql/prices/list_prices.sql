-- Prices of one model or of all; those in force on a day, or with their whole history.
SELECT *
FROM `{{ project }}.{{ dataset }}.{{ pricing_table }}`
WHERE
  (@model_id = '' OR model_id = @model_id)
  AND (
    @whole_history
    OR (effective_from <= @day AND (effective_to IS NULL OR effective_to > @day))
  )
ORDER BY model_id, service_tier, is_override, effective_from DESC

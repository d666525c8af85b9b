-- End an org's own rates, of one model or of all; what was in force before the day stays so.
UPDATE `{{ project }}.{{ dataset }}.{{ pricing_table }}`
SET effective_to = GREATEST(@day, effective_from), updated_at = @now
WHERE
  is_override AND (@model_id = '' OR model_id = @model_id)
  AND (effective_to IS NULL OR effective_to > GREATEST(@day, effective_from))

-- End an org's own terms, of one model or plan or of all; what was in force before the day stays so.
UPDATE `{{ project }}.{{ dataset }}.{{ table }}`
SET effective_to = GREATEST(@day, effective_from), updated_at = @now
WHERE
  is_override AND (@name = '' OR {{ sku[0] }} = @name)
  AND (effective_to IS NULL OR effective_to > GREATEST(@day, effective_from))

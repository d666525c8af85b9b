-- Every price that was in force on some day of a range; their content decides which days to price anew.
SELECT * EXCEPT (notes, updated_at)
FROM `{{ project }}.{{ dataset }}.{{ pricing_table }}`
WHERE effective_from <= @last_day AND (effective_to IS NULL OR effective_to > @first_day)

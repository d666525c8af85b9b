-- Every price that was in force on a day of the range. A day is priced again when they change.
SELECT * EXCEPT (notes, updated_at)
FROM `{{ project }}.{{ dataset }}.{{ pricing_table }}`
WHERE effective_from <= @last_day AND (effective_to IS NULL OR effective_to > @first_day)

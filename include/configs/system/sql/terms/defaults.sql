-- An org's defaults as they stand, before a new edition of their book.
SELECT *
FROM `{{ project }}.{{ dataset }}.{{ table }}`
WHERE NOT is_override

-- The sums of a published day by currency, without unpriced rows.
SELECT currency, 'computed' AS basis, SUM(effective_cost) AS amount
FROM `{{ project }}.{{ dataset }}.{{ cost_table }}`
WHERE usage_date = @day AND pricing_status = 'PRICED'
GROUP BY currency

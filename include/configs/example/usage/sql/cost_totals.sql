-- A published day's sums, one per currency; unpriced rows add nothing to them.
SELECT currency, 'computed' AS basis, SUM(effective_cost) AS amount
FROM `{{ project }}.{{ dataset }}.{{ destination }}`
WHERE usage_date = @day AND pricing_status = 'PRICED'
GROUP BY currency

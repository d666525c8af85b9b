-- A published day's sums, one per currency.
SELECT currency, 'computed' AS basis, SUM(daily_cost) AS amount
FROM `{{ project }}.{{ dataset }}.{{ destination }}`
WHERE usage_date = @day
GROUP BY currency

-- What one published day comes to, by currency.
SELECT currency, 'billed' AS basis, SUM(net_cost) AS amount
FROM `{{ project }}.{{ dataset }}.{{ cost_table }}`
WHERE usage_date = @day
GROUP BY currency

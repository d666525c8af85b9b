-- The last observation of the balance before a day; a row per currency.
SELECT currency, observed_at, total_balance, granted_balance, topped_up_balance
FROM `{{ project }}.{{ dataset }}.{{ balance_table }}`
WHERE usage_date < @day
QUALIFY RANK() OVER (ORDER BY usage_date DESC) = 1

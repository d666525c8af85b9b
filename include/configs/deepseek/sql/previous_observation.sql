-- The last known balance of each currency before a day.
SELECT currency, observed_at, total_balance, granted_balance, topped_up_balance
FROM `{{ project }}.{{ dataset }}.{{ balance_table }}`
WHERE usage_date < @day
QUALIFY ROW_NUMBER() OVER (PARTITION BY currency ORDER BY usage_date DESC) = 1

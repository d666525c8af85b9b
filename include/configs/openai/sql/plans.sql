-- All plans of the org, of any time: list prices without seats, and the org's own seats and prices.
SELECT
  plan_name, billing_period, currency, is_override, seats, price_per_seat, effective_from,
  effective_to, price_version
FROM `{{ project }}.{{ dataset }}.{{ plans_table }}`
ORDER BY plan_name, billing_period, is_override, effective_from

-- Every term of the org's plans: list prices without seats, and its own, of any time.
SELECT
  plan_name, billing_period, currency, is_override, seats, price_per_seat, effective_from,
  effective_to, price_version
FROM `{{ project }}.{{ dataset }}.{{ plans_table }}`
ORDER BY plan_name, billing_period, is_override, effective_from

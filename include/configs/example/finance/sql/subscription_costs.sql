-- What the plans that the org maintains come to on one UTC day: seats times price, spread evenly over
-- the calendar month or year that holds the day.
WITH
  plans AS (
    SELECT
      plan_name,
      billing_period,
      currency,
      seats,
      price_per_seat,
      CASE billing_period
        WHEN 'annual' THEN DATE_TRUNC(@day, YEAR)
        ELSE DATE_TRUNC(@day, MONTH)
      END AS period_start,
      CASE billing_period
        WHEN 'annual' THEN DATE_ADD(DATE_TRUNC(@day, YEAR), INTERVAL 1 YEAR)
        ELSE DATE_ADD(DATE_TRUNC(@day, MONTH), INTERVAL 1 MONTH)
      END AS period_end
    FROM `{{ project }}.{{ dataset }}.{{ subscriptions }}`
    WHERE
      is_override
      AND effective_from <= @day
      AND (effective_to IS NULL OR effective_to > @day)
  )
SELECT
  @day AS usage_date,
  @provider AS provider,
  plan_name,
  billing_period,
  currency,
  seats,
  price_per_seat,
  DATE_DIFF(period_end, period_start, DAY) AS days_in_period,
  -- Divided once and in BIGNUMERIC, so that only the last of 9 decimals is rounded.
  CAST(
    ROUND(
      CAST(seats AS BIGNUMERIC) * CAST(price_per_seat AS BIGNUMERIC)
        / DATE_DIFF(period_end, period_start, DAY),
      9
    ) AS NUMERIC
  ) AS daily_cost
FROM plans

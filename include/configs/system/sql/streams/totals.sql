-- The sums of a published day of a cost stream, by currency and basis. A bill that does not cover the
-- day has a basis of its own here: the day may still go back to computed cost.
SELECT
  BillingCurrency AS currency,
  IF(x_Basis = 'billed' AND x_BillState != 'covers', 'preliminary', x_Basis) AS basis,
  COALESCE(SUM(BilledCost), 0) AS amount
FROM `{{ project }}.{{ dataset }}.{{ stream_table }}`
WHERE x_UsageDate = @day
GROUP BY currency, basis

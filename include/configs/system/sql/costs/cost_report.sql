-- An org's cost of a range of days in one row, so that rows, totals, coverage and usage without a
-- price come from one snapshot. Each column is the text of a JSON array.
--
-- The view is cost_daily, or cost_daily_by_basis for one basis. Coverage always is that of
-- cost_daily. Amounts are text: JSON's numbers would lose digits.
--
-- Identifiers: `costs`, the view; `attribution`, its column or none; `groupings`, dimensions of
-- `lines`; `filters`, each with its dimension and the parameter that has the accepted texts, ''
-- for none; `tags`, dimensions whose parameter is the path of a tag.
WITH
  {% block lines %}
  lines AS (
    SELECT
      x_UsageDate AS day,
      FORMAT_TIMESTAMP('%Y-%m', BillingPeriodStart) AS billing_month,
      x_Provider AS provider,
      x_CostStream AS stream,
      ServiceName AS service,
      ChargeCategory AS charge_category,
      x_Model AS model,
      SkuId AS sku,
      SkuMeter AS meter,
      SubAccountId AS project,
      x_ApiKeyId AS api_key,
      x_UserId AS user,
      RegionId AS region,
      {% for tag in tags %}
      JSON_VALUE(Tags, @{{ tag }}) AS {{ tag }},
      {% endfor %}
      {% if attribution %}
      {{ attribution }} AS attribution,
      x_Shown = 'zero' AS is_marker,
      x_Shown AS shown,
      x_BillState AS bill,
      x_UsageState AS usage,
      x_Finality AS finality,
      x_BillRunId AS bill_run_id,
      x_UsageRunId AS usage_run_id,
      {% else %}
      CAST(NULL AS STRING) AS attribution,
      FALSE AS is_marker,
      {% endif %}
      BillingCurrency AS currency,
      DATE(BillingPeriodStart) AS billing_start,
      DATE(BillingPeriodEnd) AS billing_end,
      x_Basis AS basis,
      x_Money AS money,
      x_PricingStatus AS pricing_status,
      x_UnpricedReason AS reason,
      x_Requests AS requests,
      BilledCost AS billed_cost,
      EffectiveCost AS effective_cost,
      ListCost AS list_cost
    FROM `{{ project }}.{{ dataset }}.{{ costs }}`
    WHERE
      x_UsageDate BETWEEN @start_date AND @end_date
      AND (@basis = 'best' OR x_Basis = @basis)
  ),
  {% endblock %}
  selected AS (
    SELECT *
    FROM lines
    WHERE
      NOT is_marker
      -- What is inside another bill adds up with nothing.
      AND money = 'charge'
      {% for filter in filters %}
      AND COALESCE(CAST({{ filter.dimension }} AS STRING), '') IN UNNEST(@{{ filter.parameter }})
      {% endfor %}
  ),
  priced AS (
    SELECT *
    FROM selected
    WHERE @currency = '' OR currency = @currency
  ),
  numbered AS (
    SELECT
      {% for grouping in groupings %}
      {{ grouping }},
      {% endfor %}
      CAST(SUM(billed_cost) AS STRING) AS billed_cost,
      CAST(SUM(IF(basis = 'computed', billed_cost, 0)) AS STRING) AS expected_cost,
      CAST(SUM(effective_cost) AS STRING) AS effective_cost,
      CAST(SUM(list_cost) AS STRING) AS list_cost,
      currency,
      IF(COUNT(DISTINCT basis) > 1, 'mixed', MIN(basis)) AS basis,
      ROW_NUMBER() OVER (
        ORDER BY
          {% for grouping in groupings %}
          {{ grouping }},
          {% endfor %}
          currency
      ) AS position
    FROM priced
    GROUP BY
      {% for grouping in groupings %}
      {{ grouping }},
      {% endfor %}
      currency
  ),
  totals AS (
    SELECT
      currency,
      IF(COUNT(DISTINCT basis) > 1, 'mixed', MIN(basis)) AS basis,
      CAST(COALESCE(SUM(billed_cost), 0) AS STRING) AS billed_cost,
      CAST(COALESCE(SUM(IF(basis = 'computed', billed_cost, 0)), 0) AS STRING) AS expected_cost,
      CAST(COALESCE(SUM(effective_cost), 0) AS STRING) AS effective_cost,
      CAST(COALESCE(SUM(list_cost), 0) AS STRING) AS list_cost
    FROM priced
    GROUP BY currency
  ),
  months AS (
    SELECT DISTINCT billing_month, billing_start, billing_end
    FROM priced
    WHERE billing_start IS NOT NULL
  ),
  unpriced AS (
    SELECT day, provider, model, reason, SUM(requests) AS requests
    FROM selected
    WHERE pricing_status = 'UNPRICED' OR attribution = 'never_billed'
    GROUP BY day, provider, model, reason
  ),
  {% block shown_days %}
  -- The view cost_daily is read once: its rows are those of `lines`, unless they are of one basis.
  stream_lines AS (
    {% if attribution %}
    SELECT * FROM lines
    {% else %}
    SELECT
      x_UsageDate AS day,
      x_CostStream AS stream,
      x_Shown AS shown,
      x_BillState AS bill,
      x_UsageState AS usage,
      x_Finality AS finality,
      x_BillRunId AS bill_run_id,
      x_UsageRunId AS usage_run_id
    FROM `{{ project }}.{{ dataset }}.cost_daily`
    WHERE x_UsageDate BETWEEN @start_date AND @end_date
    {% endif %}
  ),
  shown_days AS (
    SELECT
      day,
      stream,
      MAX(shown) AS shown,
      MAX(bill) AS bill,
      MAX(usage) AS usage,
      MAX(finality) AS finality,
      MAX(bill_run_id) AS bill_run_id,
      MAX(usage_run_id) AS usage_run_id
    FROM stream_lines
    GROUP BY day, stream
  ),
  {% endblock %}
  connections AS (
    SELECT
      provider,
      MIN(connected_on) AS first_day,
      IF(LOGICAL_OR(status = 'ACTIVE'), NULL, MAX(DATE(updated_at))) AS last_day
    FROM `{{ project }}.{{ central }}.org_integration_credentials`
    WHERE org_slug = @org_slug
    GROUP BY provider
  )
SELECT
  (SELECT COUNT(*) FROM numbered) AS row_count,
  TO_JSON_STRING(
    ARRAY(
      SELECT AS STRUCT * EXCEPT (position)
      FROM numbered
      WHERE position > @rows_before AND position <= @rows_before + @max_rows
      ORDER BY position
    )
  ) AS cost_rows,
  TO_JSON_STRING(ARRAY(SELECT AS STRUCT * FROM totals ORDER BY currency)) AS totals,
  TO_JSON_STRING(ARRAY(SELECT AS STRUCT * FROM months ORDER BY billing_start)) AS months,
  TO_JSON_STRING(
    ARRAY(SELECT AS STRUCT * FROM unpriced ORDER BY day, provider, model, reason LIMIT 1000)
  ) AS unpriced,
  TO_JSON_STRING(ARRAY(SELECT AS STRUCT * FROM shown_days ORDER BY stream, day)) AS shown_days,
  TO_JSON_STRING(ARRAY(SELECT AS STRUCT * FROM connections ORDER BY provider)) AS connections

{% extends "system/sql/costs/cost_report.sql" %}
-- The same of a dataset whose view cost_daily is of a release without cost streams: both bases of
-- every source are rows of that view, so one basis of each provider is chosen as that release did. Nothing is known of coverage, and of dimensions that its view did not have.
{% block lines %}
lines AS (
  SELECT
    x_UsageDate AS day,
    FORMAT_DATE('%Y-%m', x_UsageDate) AS billing_month,
    x_Provider AS provider,
    CAST(NULL AS STRING) AS stream,
    ServiceName AS service,
    CAST(NULL AS STRING) AS charge_category,
    x_Model AS model,
    CAST(NULL AS STRING) AS sku,
    CAST(NULL AS STRING) AS meter,
    SubAccountId AS project,
    CAST(NULL AS STRING) AS api_key,
    CAST(NULL AS STRING) AS user,
    CAST(NULL AS STRING) AS region,
    {% for tag in tags %}
    IF(@{{ tag }} = '', NULL, CAST(NULL AS STRING)) AS {{ tag }},
    {% endfor %}
    CAST(NULL AS STRING) AS attribution,
    FALSE AS is_marker,
    BillingCurrency AS currency,
    CAST(NULL AS DATE) AS billing_start,
    CAST(NULL AS DATE) AS billing_end,
    x_Basis AS basis,
    'charge' AS money,
    x_PricingStatus AS pricing_status,
    x_UnpricedReason AS reason,
    x_Requests AS requests,
    COALESCE(BilledCost, EffectiveCost) AS billed_cost,
    EffectiveCost AS effective_cost,
    ListCost AS list_cost
  FROM `{{ project }}.{{ dataset }}.cost_daily`
  WHERE
    x_UsageDate BETWEEN @start_date AND @end_date
    AND x_Basis = IF(
      @basis = 'best', IF(x_Provider IN UNNEST(@billed_providers), 'billed', 'computed'), @basis
    )
),
{% endblock %}
{% block shown_days %}
shown_days AS (
  SELECT
    @start_date AS day,
    '' AS stream,
    '' AS shown,
    '' AS bill,
    '' AS usage,
    '' AS finality,
    '' AS bill_run_id,
    '' AS usage_run_id
  FROM UNNEST([0]) AS nothing
  WHERE FALSE
),
{% endblock %}

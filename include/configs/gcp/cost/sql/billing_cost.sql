-- One day of a billing export, summed by what it can be asked by. Every value becomes NUMERIC
-- before it is added; a row's credits are summed beside it and never joined to it, since a row
-- with two credits would count its cost twice.
WITH
  lines AS (
    SELECT
      *,
      CAST(cost AS NUMERIC) AS row_cost,
      CAST(COALESCE(cost_at_list, cost) AS NUMERIC) AS row_list,
      (SELECT SUM(CAST(one.amount AS NUMERIC)) FROM UNNEST(credits) AS one) AS row_credits,
      {% set types = {
        'committed_use': ['COMMITTED_USAGE_DISCOUNT', 'COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE'],
        'sustained_use': ['SUSTAINED_USAGE_DISCOUNT'],
        'free_tier': ['FREE_TIER'],
        'promotion': ['PROMOTION'],
        'discount': ['DISCOUNT'],
        'reseller_margin': ['RESELLER_MARGIN'],
        'subscription_benefit': ['SUBSCRIPTION_BENEFIT'],
        'fee_utilization_offset': ['FEE_UTILIZATION_OFFSET'],
      } %}
      {% for name, names in types.items() %}
      (
        SELECT SUM(CAST(one.amount AS NUMERIC)) FROM UNNEST(credits) AS one
        WHERE one.type IN ('{{ names | join("', '") }}')
      ) AS row_{{ name }}{% if not loop.last %},{% endif %}
      {% endfor %}
    FROM `{{ project }}.{{ dataset }}.{{ raw_table }}`
    WHERE usage_date = @day
  ),
  sums AS (
    SELECT
      usage_date,
      DATE(usage_start_time, 'America/Los_Angeles') AS usage_date_pacific,
      invoice.month AS invoice_month,
      cost_type,
      adjustment_info.id IS NOT NULL AS is_correction,
      billing_account_id,
      project.id AS project_id,
      project.number AS project_number,
      project.name AS project_name,
      service.id AS service_id,
      service.description AS service_description,
      sku.id AS sku_id,
      sku.description AS sku_description,
      location.location AS location,
      location.region AS region,
      location.country AS country,
      transaction_type,
      seller_name,
      invoice.publisher_type AS publisher_type,
      usage.unit AS usage_unit,
      SUM(SAFE_CAST(usage.amount AS NUMERIC)) AS usage_amount,
      usage.pricing_unit AS pricing_unit,
      SUM(SAFE_CAST(usage.amount_in_pricing_units AS NUMERIC)) AS pricing_amount,
      currency,
      COALESCE(SUM(row_cost), 0) AS cost,
      COALESCE(SUM(row_list), 0) AS cost_at_list,
      COALESCE(SUM(row_credits), 0) AS credits,
      {% for name in types %}
      COALESCE(SUM(row_{{ name }}), 0) AS credits_{{ name }},
      {% endfor %}
      COUNT(*) AS export_rows,
      MAX(export_time) AS exported_at
    FROM lines
    GROUP BY
      usage_date, usage_date_pacific, invoice_month, cost_type, is_correction, billing_account_id,
      project_id, project_number, project_name, service_id, service_description, sku_id,
      sku_description, location, region, country, transaction_type, seller_name, publisher_type,
      usage_unit, pricing_unit, currency
  )
SELECT
  * EXCEPT (export_rows, exported_at),
  credits
  {% for name in types %} - credits_{{ name }}{% endfor %} AS credits_other,
  cost + credits AS net_cost,
  export_rows,
  exported_at
FROM sums

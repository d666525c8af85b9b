-- One day of a billing export, summed by what it can be asked by. Amounts are added as BIGNUMERIC
-- and rounded once: what rounding takes from one row goes to a later row of its currency, so that
-- the day's rows add up to its exact sum. A row's credits are summed within the row and never joined
-- to it, since a row with two credits would count its cost twice.
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
{% set keys = [
  'usage_date', 'usage_date_pacific', 'invoice_month', 'cost_type', 'is_correction',
  'billing_account_id', 'project_id', 'project_number', 'project_name', 'service_id',
  'service_description', 'sku_id', 'sku_description', 'location', 'region', 'country', 'zone',
  'transaction_type', 'seller_name', 'publisher_type', 'usage_unit', 'pricing_unit', 'currency',
  'currency_conversion_rate', 'resource_name', 'resource_global_name', 'subscription_id', 'tags',
] %}
{% set text = '(?:[^"\\\\]|\\\\.)*' %}
{% set pairs = [
  ('labels', '\\1', ''),
  ('system_labels', '\\1', ''),
  ('project.labels', 'project/\\1', ''),
  ('tags', '\\3/\\1', ',"inherited":(?:true|false|null),"namespace":(?:null|"(' + text + ')")'),
] %}
WITH
  lines AS (
    SELECT
      *,
      CAST(cost AS BIGNUMERIC) AS row_cost,
      CAST(COALESCE(cost_at_list, cost) AS BIGNUMERIC) AS row_list,
      (SELECT SUM(CAST(one.amount AS BIGNUMERIC)) FROM UNNEST(credits) AS one) AS row_credits,
      {% for name, names in types.items() %}
      (
        SELECT SUM(CAST(one.amount AS BIGNUMERIC)) FROM UNNEST(credits) AS one
        WHERE one.type IN ('{{ names | join("', '") }}')
      ) AS row_{{ name }},
      {% endfor %}
      -- Labels under their own names; names of Google's system labels and of tags have a slash.
      ARRAY_TO_STRING(
        [
          {% for column, name, rest in pairs %}
          NULLIF(
            REGEXP_REPLACE(
              REGEXP_REPLACE(
                TO_JSON_STRING({{ column }}),
                r'\{"key":"({{ text }})","value":(null|"{{ text }}"){{ rest }}\}',
                r'"{{ name }}":\2'
              ),
              r'^\[|\]$|^null$',
              ''
            ),
            ''
          ){% if not loop.last %},{% endif %}
          {% endfor %}
        ],
        ','
      ) AS row_tags
    FROM `{{ project }}.{{ dataset }}.{{ raw_table }}`
    WHERE usage_date = @day
  ),
  dimensions AS (
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
      location.zone AS zone,
      transaction_type,
      seller_name,
      invoice.publisher_type AS publisher_type,
      usage.unit AS usage_unit,
      usage.pricing_unit AS pricing_unit,
      currency,
      SAFE_CAST(currency_conversion_rate AS NUMERIC) AS currency_conversion_rate,
      resource.name AS resource_name,
      resource.global_name AS resource_global_name,
      subscription.instance_id AS subscription_id,
      IF(row_tags = '', NULL, CONCAT('{', row_tags, '}')) AS tags,
      SAFE_CAST(usage.amount AS BIGNUMERIC) AS row_usage,
      SAFE_CAST(usage.amount_in_pricing_units AS BIGNUMERIC) AS row_pricing,
      row_cost,
      row_list,
      row_credits,
      {% for name in types %}
      row_{{ name }},
      {% endfor %}
      export_time
    FROM lines
  ),
  sums AS (
    SELECT
      {{ keys | join(', ') }},
      SUM(row_usage) AS usage_amount,
      SUM(row_pricing) AS pricing_amount,
      COALESCE(SUM(row_cost), 0) AS cost,
      COALESCE(SUM(row_list), 0) AS cost_at_list,
      COALESCE(SUM(row_credits), 0) AS credits,
      {% for name in types %}
      COALESCE(SUM(row_{{ name }}), 0) AS credits_{{ name }},
      {% endfor %}
      COUNT(*) AS export_rows,
      MAX(export_time) AS exported_at
    FROM dimensions
    GROUP BY {{ keys | join(', ') }}
  ),
  running AS (
    SELECT
      *,
      {% for name in ['cost', 'cost_at_list', 'credits'] %}
      SUM({{ name }}) OVER (
        PARTITION BY currency
        ORDER BY {{ keys | join(', ') }}
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      ) AS running_{{ name }}{% if not loop.last %},{% endif %}
      {% endfor %}
    FROM sums
  ),
  rounded AS (
    SELECT
      {{ keys | join(', ') }},
      CAST(usage_amount AS NUMERIC) AS usage_amount,
      CAST(pricing_amount AS NUMERIC) AS pricing_amount,
      {% for name in ['cost', 'cost_at_list', 'credits'] %}
      CAST(running_{{ name }} AS NUMERIC) - CAST(running_{{ name }} - {{ name }} AS NUMERIC)
        AS {{ name }},
      {% endfor %}
      {% for name in types %}
      CAST(credits_{{ name }} AS NUMERIC) AS credits_{{ name }},
      {% endfor %}
      CAST(
        credits
        {% for name in types %} - credits_{{ name }}{% endfor %} AS NUMERIC
      ) AS credits_other,
      export_rows,
      exported_at
    FROM running
  )
SELECT
  *,
  cost + credits AS net_cost
FROM rounded

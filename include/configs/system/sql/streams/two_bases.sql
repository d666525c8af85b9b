{% extends "system/sql/streams/authoritative.sql" %}
-- A day of a stream that has a bill and computed usage: the bill once it covers the day, split over
-- the usage that it is for; the computed cost until then.
--
-- Matching. A bill row states some of the dimensions; NULL means that it does not state one. A usage
-- row takes part in the bill rows that state the most dimensions among those that meet it, and in
-- no others. Where the usage does not state a dimension that the bill states, every value meets it.
--
-- Splitting. Amounts of a bill row are split over its usage rows in proportion to their computed
-- cost, or to their quantity where they have one unit and no cost. Quantities of a usage row are
-- split over its bill rows in proportion to their list amounts. All numbers are NUMERIC: weights are
-- whole billionths, so each product and each remainder is exact. Units that are left go to the
-- largest remainders, equal ones in the order of the rows' keys.
{% block authoritative %}
  {% set usage_view = sides[0].view %}
  {% set bill_view = sides[1].view %}
  {% set nano = "NUMERIC '0.000000001'" %}
  usage_lines AS (
    SELECT
      *,
      TO_JSON_STRING(STRUCT({% for name in key_columns %}{% if not loop.first %}, {% endif %}{{ name }}{% endfor %})) AS line_key,
      CONCAT({% for name in dimensions %}{% if not loop.first %}, {% endif %}IF({{ name }} IS NULL, '0', '1'){% endfor %}) AS stated,
      {% if never_billed %}
      {% for one in never_billed %}{% if not loop.first %} OR {% endif %}COALESCE({{ one.column }}, '') IN UNNEST(@never_billed){% endfor %}
      {% else %}
      FALSE
      {% endif %} AS is_never_billed
    FROM `{{ project }}.{{ dataset }}.{{ usage_view }}`
    WHERE x_UsageDate = @day AND @has_usage
  ),
  bill_lines AS (
    SELECT
      *,
      TO_JSON_STRING(STRUCT({% for name in key_columns %}{% if not loop.first %}, {% endif %}{{ name }}{% endfor %}, BillingCurrency, ChargeCategory, ChargeDescription)) AS line_key,
      CONCAT({% for name in dimensions %}{% if not loop.first %}, {% endif %}IF({{ name }} IS NULL, '0', '1'){% endfor %}) AS stated
    FROM `{{ project }}.{{ dataset }}.{{ bill_view }}`
    WHERE x_UsageDate = @day AND @has_bill
  ),
  usage_patterns AS (SELECT DISTINCT stated FROM usage_lines WHERE NOT is_never_billed),
  bill_patterns AS (SELECT DISTINCT stated FROM bill_lines),
  -- What both sides state, as one text for each pair of patterns: an equality that can be joined.
  {% for side, other, filter in [("usage", "bill", "WHERE NOT lines.is_never_billed"), ("bill", "usage", "")] %}
  {{ side }}_keys AS (
    SELECT
      lines.line_key,
      lines.stated AS {{ side }}_stated,
      patterns.stated AS {{ other }}_stated,
      CONCAT(
        {% for name in dimensions %}
        IF(
          lines.{{ name }} IS NULL OR SUBSTR(patterns.stated, {{ loop.index }}, 1) = '0',
          '-',
          CONCAT(CAST(LENGTH(lines.{{ name }}) AS STRING), ':', lines.{{ name }})
        ){% if not loop.last %},{% endif %}

        {% endfor %}
      ) AS dimension_key
    FROM {{ side }}_lines AS lines
    CROSS JOIN {{ other }}_patterns AS patterns
    {{ filter }}
  ),
  {% endfor %}
  met AS (
    SELECT usage_keys.line_key AS usage_key, bill_keys.line_key AS bill_key
    FROM usage_keys
    JOIN bill_keys
      ON
        bill_keys.usage_stated = usage_keys.usage_stated
        AND bill_keys.bill_stated = usage_keys.bill_stated
        AND bill_keys.dimension_key = usage_keys.dimension_key
    WHERE TRUE
    QUALIFY
      RANK() OVER (
        PARTITION BY usage_keys.line_key
        ORDER BY LENGTH(REPLACE(bill_keys.bill_stated, '0', '')) DESC, bill_keys.bill_stated DESC
      ) = 1
  ),
  measured AS (
    SELECT
      met.usage_key,
      met.bill_key,
      usage_lines.ContractedCost AS usage_cost,
      usage_lines.ConsumedQuantity AS usage_quantity,
      SUM(usage_lines.ContractedCost) OVER of_bill AS all_cost,
      SUM(usage_lines.ConsumedQuantity) OVER of_bill AS all_quantity,
      COUNT(*) OVER of_bill AS lines_of_bill,
      COUNT(usage_lines.ConsumedQuantity) OVER of_bill AS lines_with_quantity,
      MIN(usage_lines.ConsumedUnit) OVER of_bill AS first_unit,
      MAX(usage_lines.ConsumedUnit) OVER of_bill AS last_unit
    FROM met
    JOIN usage_lines
      ON usage_lines.line_key = met.usage_key
    WINDOW of_bill AS (PARTITION BY met.bill_key)
  ),
  weighed AS (
    SELECT
      measured.usage_key,
      measured.bill_key,
      IF(all_cost > 0, COALESCE(usage_cost, 0), usage_quantity) AS usage_weight,
      -- What the bill states of this key: the list amount, or what is billed; equal parts of nothing.
      ABS(COALESCE(IF(bill_lines.x_ListCostSource = 'bill', bill_lines.ListCost, NULL), bill_lines.BilledCost)) AS bill_amount
    FROM measured
    JOIN bill_lines
      ON bill_lines.line_key = measured.bill_key
    WHERE
      all_cost > 0
      OR (
        all_quantity > 0 AND lines_with_quantity = lines_of_bill AND first_unit = last_unit
      )
  ),
  pairs AS (
    SELECT
      *,
      SUM(usage_weight) OVER (PARTITION BY bill_key) AS usage_weight_sum,
      IF(SUM(bill_amount) OVER of_usage > 0, bill_amount, 1) AS bill_weight,
      IF(
        SUM(bill_amount) OVER of_usage > 0,
        SUM(bill_amount) OVER of_usage,
        COUNT(*) OVER of_usage
      ) AS bill_weight_sum,
      COUNT(*) OVER (PARTITION BY bill_key) AS lines_of_bill,
      COUNT(*) OVER of_usage AS lines_of_usage,
      ROW_NUMBER() OVER (PARTITION BY usage_key ORDER BY bill_key) AS number_of_usage
    FROM weighed
    WINDOW of_usage AS (PARTITION BY usage_key)
  ),
  {% set amounts = [
    ("billed", "bill", "BilledCost"),
    ("effective", "bill", "EffectiveCost"),
    ("listed", "bill", "ListCost"),
    ("book", "usage", "ListCost"),
    ("contracted", "usage", "ContractedCost"),
    ("quantity", "usage", "ConsumedQuantity"),
  ] %}
  {% set weights = {"bill": "usage", "usage": "bill"} %}
  -- For each amount the share in whole billionths, rounded by the division, and what it is off.
  divided AS (
    SELECT
      pairs.*,
      {% for name, side, column in amounts %}
      {{ side }}_lines.{{ column }} AS {{ name }},
      TRUNC(
        ABS({{ side }}_lines.{{ column }}) * ({{ weights[side] }}_weight * 1000000000)
          / ({{ weights[side] }}_weight_sum * 1000000000),
        9
      ) AS {{ name }}_share{% if not loop.last %},{% endif %}

      {% endfor %}
    FROM pairs
    JOIN bill_lines
      ON bill_lines.line_key = pairs.bill_key
    JOIN usage_lines
      ON usage_lines.line_key = pairs.usage_key
  ),
  remaining AS (
    SELECT
      *,
      {% for name, side, column in amounts %}
      ABS({{ name }}) * ({{ weights[side] }}_weight * 1000000000)
        - {{ name }}_share * ({{ weights[side] }}_weight_sum * 1000000000) AS {{ name }}_off{% if not loop.last %},{% endif %}

      {% endfor %}
    FROM divided
  ),
  floored AS (
    SELECT
      * REPLACE (
        {% for name, side, column in amounts %}
        IF({{ name }}_off < 0, {{ name }}_share - {{ nano }}, {{ name }}_share) AS {{ name }}_share,
        IF({{ name }}_off < 0, {{ name }}_off + {{ weights[side] }}_weight_sum, {{ name }}_off) AS {{ name }}_off{% if not loop.last %},{% endif %}

        {% endfor %}
      )
    FROM remaining
  ),
  ranked AS (
    SELECT
      *,
      {% for name, side, column in amounts %}
      (ABS({{ name }}) - SUM({{ name }}_share) OVER (PARTITION BY {{ side }}_key)) * 1000000000 AS {{ name }}_left,
      ROW_NUMBER() OVER (
        PARTITION BY {{ side }}_key
        ORDER BY {{ name }}_off DESC, usage_key, bill_key
      ) AS {{ name }}_rank{% if not loop.last %},{% endif %}

      {% endfor %}
    FROM floored
  ),
  split AS (
    SELECT
      usage_key, bill_key, lines_of_bill, lines_of_usage, number_of_usage,
      {% for name, side, column in amounts %}
      SIGN({{ name }}) * ({{ name }}_share + IF({{ name }}_rank <= {{ name }}_left, {{ nano }}, 0)) AS {{ name }}{% if not loop.last %},{% endif %}

      {% endfor %}
    FROM ranked
  ),
  attributed AS (
    SELECT
      bill_lines.* EXCEPT (line_key, stated) REPLACE (
        split.billed AS BilledCost,
        split.effective AS EffectiveCost,
        CASE
          WHEN bill_lines.x_ListCostSource = 'bill' THEN split.listed
          WHEN usage_lines.BillingCurrency = bill_lines.BillingCurrency
            THEN COALESCE(split.book, split.billed)
          ELSE split.billed
        END AS ListCost,
        -- At the org's own rate where it has one; else as the list cost, in the bill's currency.
        CASE
          WHEN
            usage_lines.BillingCurrency = bill_lines.BillingCurrency
            AND usage_lines.ContractedCost != usage_lines.ListCost
            THEN split.contracted
          WHEN bill_lines.x_ListCostSource = 'bill' THEN split.listed
          WHEN usage_lines.BillingCurrency = bill_lines.BillingCurrency
            THEN COALESCE(split.book, split.billed)
          ELSE split.billed
        END AS ContractedCost,
        CASE
          WHEN bill_lines.x_ListCostSource = 'bill' THEN 'bill'
          WHEN usage_lines.BillingCurrency = bill_lines.BillingCurrency AND split.book IS NOT NULL
            THEN 'book'
          ELSE 'billed'
        END AS x_ListCostSource,
        split.quantity AS ConsumedQuantity,
        split.quantity AS PricingQuantity,
        IF(split.number_of_usage = 1, usage_lines.x_Requests, NULL) AS x_Requests,
        COALESCE(usage_lines.SubAccountId, bill_lines.SubAccountId) AS SubAccountId,
        COALESCE(usage_lines.SubAccountName, bill_lines.SubAccountName) AS SubAccountName,
        COALESCE(usage_lines.SubAccountType, bill_lines.SubAccountType) AS SubAccountType,
        COALESCE(usage_lines.SkuId, bill_lines.SkuId) AS SkuId,
        COALESCE(usage_lines.SkuMeter, bill_lines.SkuMeter) AS SkuMeter,
        COALESCE(usage_lines.SkuPriceId, bill_lines.SkuPriceId) AS SkuPriceId,
        COALESCE(usage_lines.x_Model, bill_lines.x_Model) AS x_Model,
        COALESCE(usage_lines.x_ServiceTier, bill_lines.x_ServiceTier) AS x_ServiceTier,
        COALESCE(usage_lines.x_ContextWindow, bill_lines.x_ContextWindow) AS x_ContextWindow,
        COALESCE(usage_lines.x_ApiKeyId, bill_lines.x_ApiKeyId) AS x_ApiKeyId,
        COALESCE(usage_lines.x_UserId, bill_lines.x_UserId) AS x_UserId,
        COALESCE(usage_lines.ConsumedUnit, bill_lines.ConsumedUnit) AS ConsumedUnit,
        COALESCE(usage_lines.PricingUnit, bill_lines.PricingUnit) AS PricingUnit,
        COALESCE(usage_lines.ResourceId, bill_lines.ResourceId) AS ResourceId,
        COALESCE(usage_lines.ResourceName, bill_lines.ResourceName) AS ResourceName,
        COALESCE(usage_lines.ResourceType, bill_lines.ResourceType) AS ResourceType,
        COALESCE(usage_lines.RegionId, bill_lines.RegionId) AS RegionId,
        COALESCE(usage_lines.RegionName, bill_lines.RegionName) AS RegionName,
        COALESCE(usage_lines.Tags, bill_lines.Tags) AS Tags,
        usage_lines.x_PriceVersion AS x_PriceVersion,
        usage_lines.x_PriceCaveat AS x_PriceCaveat
      ),
      IF(lines_of_bill = 1 AND lines_of_usage = 1, 'direct', 'proportional') AS x_Attribution
    FROM split
    JOIN bill_lines
      ON bill_lines.line_key = split.bill_key
    JOIN usage_lines
      ON usage_lines.line_key = split.usage_key
  ),
  unattributed AS (
    SELECT * EXCEPT (line_key, stated), 'unattributed' AS x_Attribution
    FROM bill_lines
    WHERE line_key NOT IN (SELECT bill_key FROM split)
  ),
  not_on_bill AS (
    SELECT
      * EXCEPT (line_key, stated, is_never_billed) REPLACE (
        IF(is_never_billed, NULL, NUMERIC '0') AS BilledCost,
        IF(is_never_billed, NULL, NUMERIC '0') AS EffectiveCost,
        IF(is_never_billed, NULL, ContractedCost) AS ContractedCost,
        IF(is_never_billed, NULL, ListCost) AS ListCost,
        'billed' AS x_Basis,
        IF(is_never_billed, 'not_on_bill', x_UnpricedReason) AS x_UnpricedReason
      ),
      IF(is_never_billed, 'never_billed', 'not_billed') AS x_Attribution
    FROM usage_lines
    WHERE is_never_billed OR line_key NOT IN (SELECT usage_key FROM split)
  ),
  -- What the usage has and the bill has not, in the price book's currency, by SKU and meter: from
  -- quantities where the bill states them, else from list amounts.
  matched_usage AS (
    SELECT
      bill_lines.SkuId AS sku,
      bill_lines.SkuMeter AS meter,
      usage_lines.BillingCurrency AS currency,
      SUM(split.quantity) AS quantity,
      SUM(split.book) AS amount
    FROM split
    JOIN bill_lines
      ON bill_lines.line_key = split.bill_key
    JOIN usage_lines
      ON usage_lines.line_key = split.usage_key
    WHERE usage_lines.ListCost IS NOT NULL
    GROUP BY sku, meter, currency
  ),
  matched_bill AS (
    SELECT
      SkuId AS sku,
      SkuMeter AS meter,
      MIN(BillingCurrency) AS currency,
      IF(COUNT(*) = COUNT(ConsumedQuantity), SUM(ConsumedQuantity), NULL) AS quantity,
      SUM(IF(x_ListCostSource = 'bill', ListCost, BilledCost)) AS amount
    FROM bill_lines
    WHERE line_key IN (SELECT bill_key FROM split)
    GROUP BY sku, meter
  ),
  shortfalls AS (
    SELECT
      CASE
        WHEN matched_bill.quantity IS NOT NULL
          THEN
            (matched_usage.quantity - matched_bill.quantity) * matched_usage.amount
              / NULLIF(matched_usage.quantity, 0)
        WHEN matched_bill.currency = matched_usage.currency
          THEN matched_usage.amount - matched_bill.amount
      END AS amount
    FROM matched_usage
    JOIN matched_bill
      ON
        COALESCE(matched_bill.sku, '') = COALESCE(matched_usage.sku, '')
        AND COALESCE(matched_bill.meter, '') = COALESCE(matched_usage.meter, '')
    UNION ALL
    SELECT SUM(ListCost) AS amount
    FROM not_on_bill
    WHERE x_Attribution = 'not_billed' AND ListCost IS NOT NULL
    GROUP BY SkuId, SkuMeter
  ),
  compared AS (
    SELECT
      (SELECT COUNTIF(amount > @coverage_threshold) FROM shortfalls) AS meters_below,
      (SELECT COUNTIF(BilledCost != 0) FROM bill_lines) AS billed_lines,
      (SELECT COALESCE(SUM(ContractedCost), 0) FROM usage_lines WHERE NOT is_never_billed) AS computed_cost
  ),
  decided AS (
    SELECT
      CASE
        WHEN NOT @has_bill THEN @bill_state
        WHEN billed_lines = 0 AND computed_cost > @coverage_threshold THEN 'empty'
        WHEN @was_covered THEN 'covers'
        WHEN NOT @has_usage THEN IF(@bill_is_final, 'covers', 'partial')
        WHEN meters_below = 0 THEN 'covers'
        WHEN @bill_is_final AND @bill_is_steady THEN 'covers'
        ELSE 'partial'
      END AS bill_state
    FROM compared
  ),
  chosen AS (
    SELECT
      bill_state,
      bill_state = 'covers' OR (bill_state = 'partial' AND NOT @has_usage) AS is_billed
    FROM decided
  ),
  day_state AS (SELECT bill_state FROM chosen),
  authoritative AS (
    {% for part in ["attributed", "unattributed", "not_on_bill"] %}
    SELECT
      {% for column in columns %}
      {{ column }},
      {% endfor %}
      x_Attribution,
      IF(bill_state = 'covers', 'billed', 'preliminary') AS x_Shown,
      bill_state AS x_BillState,
      @usage_state AS x_UsageState
    FROM {{ part }}
    CROSS JOIN chosen
    WHERE is_billed
    UNION ALL
    {% endfor %}
    SELECT
      {% for column in columns %}
      {{ column }},
      {% endfor %}
      CAST(NULL AS STRING) AS x_Attribution,
      'computed' AS x_Shown,
      bill_state AS x_BillState,
      @usage_state AS x_UsageState
    FROM usage_lines
    CROSS JOIN chosen
    WHERE NOT is_billed
  )
{% endblock %}

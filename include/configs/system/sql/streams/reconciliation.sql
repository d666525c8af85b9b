-- One UTC day of a cost stream: what is computed from usage against what is billed, and why they differ.
--
-- A row is a sub-account, a SKU, a meter and a currency. Its reasons add up to billed - computed to the
-- ninth decimal. docs/trust.md describes the reasons and their order.
--
-- Identifiers: `usage_view` and `bill_view`, the views of the stream's bases; `stream_table`, its
-- authoritative rows; `never_billed`; of the stream's declaration `caveats`, `factors` and the `rates` of
-- `pricing_table`; of the organization's settings `declared`. Each of these has a number, and parameters
-- with this number hold its values.
{% set nano = "NUMERIC '0.000000001'" %}
{% set key = ["sub_account", "sku", "meter"] %}
-- The name without what makes it one organization's tuned model: ft:gpt-4o:acme::id is ft:gpt-4o.
{% macro cut(name) -%}
COALESCE(REGEXP_EXTRACT({{ name }}, r'^(ft:[^:]+):'), {{ name }}, '')
{%- endmacro %}
{% macro undate(name) -%}
REGEXP_REPLACE({{ name }}, r'-(\d{4}-\d{2}-\d{2}|\d{8}|latest)$', '')
{%- endmacro %}
{% macro names(sku) -%}
{{ sku }} AS name_0,
      {{ undate(sku) }} AS name_1,
      REGEXP_REPLACE({{ undate(sku) }}, r'^ft:', '') AS name_2
{%- endmacro %}
-- What remains below the rounding of a cell's rows belongs to the reason.
{% macro take(amount, rest) -%}
IF(ABS({{ rest }} - ({{ amount }})) <= tolerance, {{ rest }}, {{ amount }})
{%- endmacro %}
-- The part of a possible amount that goes in the direction of the rest and not beyond it.
{% macro within(amount, rest) -%}
IF(SIGN({{ amount }}) = SIGN({{ rest }}), SIGN({{ rest }}) * LEAST(ABS({{ amount }}), ABS({{ rest }})), 0)
{%- endmacro %}
WITH
  usage_rows AS (
    SELECT
      COALESCE(SubAccountId, '') AS sub_account,
      {{ cut("SkuId") }} AS sku,
      COALESCE(SkuMeter, '') AS meter,
      COALESCE(x_ServiceTier, 'standard') AS tier,
      ConsumedQuantity AS quantity,
      ConsumedUnit AS unit,
      BilledCost AS cost,
      ListCost AS list_cost,
      IF(BilledCost IS NULL, NULL, BillingCurrency) AS currency,
      x_UnpricedReason AS unpriced_reason,
      COALESCE(x_PriceCaveat, '') AS caveat,
      SkuPriceId AS price_id,
      x_ContextWindow,
      x_ServiceTier,
      RegionId
    FROM `{{ project }}.{{ dataset }}.{{ usage_view }}`
    WHERE
      x_UsageDate = @day
      AND @has_usage
      {% for one in never_billed %}
      AND COALESCE({{ one.column }}, '') NOT IN UNNEST(@never_billed)
      {% endfor %}
  ),
  bill_rows AS (
    SELECT
      COALESCE(SubAccountId, '') AS sub_account,
      {{ cut("SkuId") }} AS sku,
      COALESCE(SkuMeter, '') AS meter,
      COALESCE(x_ServiceTier, 'standard') AS tier,
      ConsumedQuantity AS quantity,
      ConsumedUnit AS unit,
      COALESCE(BilledCost, 0) AS cost,
      IF(x_ListCostSource = 'bill', ListCost, NULL) AS list_cost,
      BillingCurrency AS currency,
      ChargeCategory = 'Credit' OR REGEXP_CONTAINS(LOWER(ChargeDescription), @credit_line) AS is_credit,
      ChargeDescription AS line,
      x_ContextWindow,
      x_ServiceTier,
      RegionId
    FROM `{{ project }}.{{ dataset }}.{{ bill_view }}`
    WHERE x_UsageDate = @day AND @has_bill
  ),
  states AS (
    SELECT MIN(x_BillState) AS bill_state, MIN(x_UsageState) AS usage_state
    FROM `{{ project }}.{{ dataset }}.{{ stream_table }}`
    WHERE x_UsageDate = @day
  ),
  -- Names. Both sides may name one model differently: an alias, a snapshot, a tuned model. A name that
  -- both sides have is that SKU. What is left on both sides is compared without dates, then without
  -- the mark of tuned models, and last with lines that state no SKU. An empty sub-account or meter of a
  -- bill states none; usage goes to the line that states the most.
  usage_cells AS (
    SELECT DISTINCT sub_account, sku, meter,
      {{ names("sku") }},
      '' AS name_3
    FROM usage_rows
  ),
  bill_cells AS (
    SELECT DISTINCT sub_account, sku, meter,
      {{ names("sku") }},
      IF(sku = '', '', NULL) AS name_3
    FROM bill_rows
  ),
  meetings AS (
    {% for stage in ["0", "1", "2", "3"] %}
    SELECT
      {{ stage }} AS stage,
      bill_cells.name_{{ stage }} AS shared_name,
      {% for side in ["usage", "bill"] %}
      {% for name in key %}
      {{ side }}_cells.{{ name }} AS {{ side }}_{{ name }}{% if not loop.last %},{% endif %}

      {% endfor %}
      {% if not loop.last %},{% endif %}
      {% endfor %}
    FROM usage_cells
    JOIN bill_cells
      ON
        bill_cells.name_{{ stage }} = usage_cells.name_{{ stage }}
        AND (bill_cells.sub_account = usage_cells.sub_account OR bill_cells.sub_account = '')
        AND (bill_cells.meter = usage_cells.meter OR bill_cells.meter = '')
    {% if not loop.last %}UNION ALL{% endif %}

    {% endfor %}
  ),
  first_meetings AS (
    SELECT *
    FROM meetings
    WHERE TRUE
    QUALIFY stage = MIN(stage) OVER (PARTITION BY bill_sub_account, bill_sku, bill_meter)
  ),
  usage_keys AS (
    SELECT *
    FROM first_meetings
    WHERE TRUE
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY usage_sub_account, usage_sku, usage_meter
        ORDER BY stage, bill_sub_account = '', bill_meter = '', bill_sku
      ) = 1
  ),
  bill_keys AS (
    SELECT DISTINCT bill_sub_account, bill_sku, bill_meter, shared_name
    FROM first_meetings
  ),
  usage_lines AS (
    SELECT
      usage_rows.* REPLACE (
        COALESCE(usage_keys.bill_sub_account, usage_rows.sub_account) AS sub_account,
        COALESCE(usage_keys.shared_name, usage_rows.sku) AS sku,
        COALESCE(usage_keys.bill_meter, usage_rows.meter) AS meter
      ),
      usage_rows.meter AS exact_meter
    FROM usage_rows
    LEFT JOIN usage_keys
      ON
        usage_keys.usage_sub_account = usage_rows.sub_account
        AND usage_keys.usage_sku = usage_rows.sku
        AND usage_keys.usage_meter = usage_rows.meter
  ),
  computed AS (
    SELECT
      sub_account, sku, meter,
      MIN(currency) AS currency,
      COUNT(*) AS row_count,
      MIN(unit) AS unit,
      SUM(cost) AS cost,
      SUM(list_cost) AS list_cost,
      IF(COUNT(*) = COUNT(quantity), SUM(quantity), NULL) AS quantity,
      SUM(IF(cost IS NULL, 0, quantity)) AS priced_quantity,
      SUM(IF(cost IS NULL, quantity, 0)) AS unpriced_quantity,
      COUNTIF(cost IS NULL) AS unpriced_rows,
      MIN(unpriced_reason) AS unpriced_reason,
      STRING_AGG(DISTINCT unpriced_reason, ',' ORDER BY unpriced_reason) AS unpriced_reasons,
      STRING_AGG(DISTINCT IF(caveat = '', NULL, caveat), ',' ORDER BY IF(caveat = '', NULL, caveat)) AS caveats,
      {% for one in caveats %}
      SUM(
        IF(
          STRPOS(CONCAT(',', caveat, ','), ',{{ one.name }},') > 0
            AND (ARRAY_LENGTH(@caveat_{{ one.number }}_meters) = 0 OR exact_meter IN UNNEST(@caveat_{{ one.number }}_meters)),
          cost * (IF(STRPOS(exact_meter, 'output') > 0, @caveat_{{ one.number }}_output, @caveat_{{ one.number }}) - 1),
          0
        )
      ) AS caveat_{{ one.number }}_bound,
      {% endfor %}
      {% for one in factors if one.columns %}
      LOGICAL_OR(COALESCE({{ one.columns[0] }}, '') IN UNNEST(@factor_{{ one.number }}_values)) AS states_factor_{{ one.number }},
      {% endfor %}
      STRING_AGG(DISTINCT price_id, ',' ORDER BY price_id) AS price_ids
    FROM usage_lines
    GROUP BY sub_account, sku, meter
  ),
  -- The computed price of a SKU's meter in a tier, wherever it was used on this day.
  tier_prices AS (
    SELECT sku, exact_meter AS meter, tier, SUM(cost) AS cost, SUM(quantity) AS quantity
    FROM usage_lines
    WHERE cost IS NOT NULL AND quantity > 0
    GROUP BY sku, meter, tier
  ),
  bill_lines AS (
    SELECT
      bill_rows.* REPLACE (COALESCE(bill_keys.shared_name, bill_rows.sku) AS sku),
      bill_rows.sku AS exact_sku,
      CASE
        {% for one in factors %}
        {% if not one.columns %}
        WHEN REGEXP_CONTAINS(LOWER(line), @factor_{{ one.number }}_line) THEN {{ one.number }}
        {% else %}
        WHEN
          bill_rows.{{ one.columns[0] }} IN UNNEST(@factor_{{ one.number }}_values)
          AND NOT COALESCE(computed.states_factor_{{ one.number }}, FALSE)
          THEN {{ one.number }}
        {% endif %}
        {% endfor %}
        ELSE 0
      END AS factor
    FROM bill_rows
    LEFT JOIN bill_keys
      ON
        bill_keys.bill_sub_account = bill_rows.sub_account
        AND bill_keys.bill_sku = bill_rows.sku
        AND bill_keys.bill_meter = bill_rows.meter
    LEFT JOIN computed
      ON
        computed.sub_account = bill_rows.sub_account
        AND computed.sku = COALESCE(bill_keys.shared_name, bill_rows.sku)
        AND computed.meter = bill_rows.meter
  ),
  -- Tiers have prices of their own. Where the bill is short of each tier or has more of each, the
  -- quantity effect is that of the tiers; else the bill may not state them.
  tier_effects AS (
    SELECT
      sub_account, sku, meter,
      IF(
        (MIN(missing) >= 0 OR MAX(missing) <= 0) AND MAX(currencies) <= 1 AND COUNTIF(missing IS NULL) = 0
          AND COUNTIF(missing != 0 AND price IS NULL) = 0,
        -SUM(missing * COALESCE(cost, 0) / COALESCE(NULLIF(quantity, 0), 1)),
        NULL
      ) AS tier_effect
    FROM (
      SELECT
        COALESCE(used.sub_account, charged.sub_account) AS sub_account,
        COALESCE(used.sku, charged.sku) AS sku,
        COALESCE(used.meter, charged.meter) AS meter,
        charged.currencies,
        used.cost,
        used.quantity,
        IF(used.gaps > 0, NULL, used.cost) AS price,
        IF(used.gaps > 0 OR charged.gaps > 0, NULL, COALESCE(used.quantity, 0) - COALESCE(charged.quantity, 0)) AS missing
      FROM (
        SELECT sub_account, sku, meter, tier, SUM(quantity) AS quantity, SUM(cost) AS cost, COUNTIF(cost IS NULL OR quantity IS NULL) AS gaps
        FROM usage_lines
        GROUP BY sub_account, sku, meter, tier
      ) AS used
      FULL JOIN (
        SELECT sub_account, sku, meter, tier, SUM(quantity) AS quantity, COUNT(DISTINCT currency) AS currencies, COUNTIF(quantity IS NULL) AS gaps
        FROM bill_lines
        GROUP BY sub_account, sku, meter, tier
      ) AS charged
        ON
          charged.sub_account = used.sub_account
          AND charged.sku = used.sku
          AND charged.meter = used.meter
          AND charged.tier = used.tier
    )
    GROUP BY sub_account, sku, meter
  ),
  -- What a line would cost at the computed price, and what its factor makes of it.
  factored AS (
    SELECT
      bill_lines.*,
      bill_lines.quantity * tier_prices.cost / NULLIF(tier_prices.quantity, 0) AS expected,
      bill_lines.quantity * base_prices.cost / NULLIF(base_prices.quantity, 0) AS base_expected
    FROM bill_lines
    LEFT JOIN tier_prices
      ON
        tier_prices.sku = bill_lines.sku
        AND tier_prices.meter = bill_lines.meter
        -- A factor of a tier is one on the price of the standard tier.
        AND tier_prices.tier = CASE bill_lines.factor
          WHEN 0 THEN bill_lines.tier
          {% for one in factors if one.tier_columns %}
          WHEN {{ one.number }} THEN 'standard'
          {% endfor %}
          ELSE bill_lines.tier
        END
    LEFT JOIN tier_prices AS base_prices
      ON
        base_prices.sku = bill_lines.sku
        AND base_prices.tier = bill_lines.tier
        AND base_prices.meter = CASE bill_lines.factor
          WHEN 0 THEN ''
          {% for one in factors if one.base_meters %}
          WHEN {{ one.number }} THEN '{{ one.base_meters[0] }}'
          {% endfor %}
          ELSE ''
        END
  ),
  measured AS (
    SELECT
      * REPLACE (
        CASE factor
          WHEN 0 THEN 0
          {% for one in factors %}
          {% set value = "IF(STRPOS(meter, 'output') > 0, @factor_" ~ one.number ~ "_output, @factor_" ~ one.number ~ ")" %}
          WHEN {{ one.number }}
            THEN
              CASE
                {% if one.base_meters %}
                WHEN base_expected IS NOT NULL AND expected IS NOT NULL
                  THEN ROUND(base_expected * {{ value }} - expected, 9)
                {% endif %}
                WHEN expected IS NOT NULL AND {{ value }} IS NULL THEN ROUND(cost - expected, 9)
                WHEN expected IS NOT NULL THEN ROUND(expected * ({{ value }} - 1), 9)
                WHEN {{ value }} > 0
                  THEN ROUND(COALESCE(list_cost, cost) - COALESCE(list_cost, cost) / {{ value }}, 9)
                ELSE 0
              END
          {% endfor %}
          ELSE 0
        END AS expected
      )
    FROM factored
  ),
  -- Prices of what the bill has and the usage has not, at the standard tier.
  book AS (
    SELECT model_id, meter, rate, per
    FROM (
      {% for one in rates %}
      SELECT model_id, '{{ one.meter }}' AS meter, CAST({{ one.column }} AS NUMERIC) AS rate, {{ one.per }} AS per, is_override, effective_from
      FROM `{{ project }}.{{ dataset }}.{{ pricing_table }}`
      WHERE
        service_tier = 'standard'
        AND effective_from <= @day
        AND (effective_to IS NULL OR effective_to > @day)
      {% if not loop.last %}UNION ALL{% endif %}

      {% endfor %}
    )
    WHERE TRUE
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY model_id, meter ORDER BY is_override DESC, effective_from DESC, rate
      ) = 1
  ),
  known_skus AS (
    SELECT sku, MAX(is_known) AS is_known
    FROM (
      SELECT cells.name_0 AS sku, 1 AS is_known
      FROM bill_cells AS cells
      JOIN book
        ON book.model_id = cells.name_0
      UNION ALL
      SELECT cells.name_0, 1
      FROM bill_cells AS cells
      JOIN book
        ON book.model_id = cells.name_1
    )
    GROUP BY sku
  ),
  billed AS (
    SELECT
      measured.sub_account,
      measured.sku,
      measured.meter,
      measured.currency,
      COUNT(*) AS row_count,
      MIN(unit) AS unit,
      SUM(cost) AS cost,
      IF(COUNT(*) = COUNT(list_cost), SUM(list_cost), NULL) AS list_cost,
      IF(COUNT(*) = COUNT(quantity), SUM(quantity), NULL) AS quantity,
      LOGICAL_AND(COALESCE(is_credit, FALSE)) AS is_credit,
      LOGICAL_OR(known_skus.is_known IS NOT NULL) AS is_known,
      SUM(quantity * COALESCE(exact.rate, undated.rate) / COALESCE(exact.per, undated.per)) AS book_cost,
      {% for one in factors %}
      SUM(IF(factor = {{ one.number }}, expected, 0)) AS factor_{{ one.number }}_amount,
      SUM(IF(factor = {{ one.number }}, quantity, NULL)) AS factor_{{ one.number }}_quantity,
      MIN(IF(factor = {{ one.number }}, line, NULL)) AS factor_{{ one.number }}_line,
      {% endfor %}
      MIN(line) AS first_line,
      COUNT(DISTINCT line) AS line_count
    FROM measured
    LEFT JOIN book AS exact
      ON exact.model_id = measured.exact_sku AND exact.meter = measured.meter
    LEFT JOIN book AS undated
      ON undated.model_id = {{ undate("measured.exact_sku") }} AND undated.meter = measured.meter
    LEFT JOIN known_skus
      ON known_skus.sku = measured.exact_sku
    GROUP BY measured.sub_account, measured.sku, measured.meter, measured.currency
  ),
  -- Usage is compared with the bill of its own currency, else with the bill that there is.
  bill_currencies AS (
    SELECT
      billed.sub_account, billed.sku, billed.meter,
      COALESCE(MAX(IF(billed.currency = computed.currency, billed.currency, NULL)), MIN(billed.currency)) AS currency
    FROM billed
    JOIN computed
      ON
        computed.sub_account = billed.sub_account
        AND computed.sku = billed.sku
        AND computed.meter = billed.meter
    GROUP BY billed.sub_account, billed.sku, billed.meter
  ),
  usage_side AS (
    SELECT computed.*, COALESCE(bill_currencies.currency, computed.currency, @currency) AS bill_currency
    FROM computed
    LEFT JOIN bill_currencies
      ON
        bill_currencies.sub_account = computed.sub_account
        AND bill_currencies.sku = computed.sku
        AND bill_currencies.meter = computed.meter
  ),
  cells AS (
    SELECT
      COALESCE(b.sub_account, c.sub_account) AS sub_account,
      COALESCE(b.sku, c.sku) AS sku,
      COALESCE(b.meter, c.meter) AS meter,
      COALESCE(b.currency, c.bill_currency) AS currency,
      c.currency AS computed_currency,
      COALESCE(c.unit, b.unit) AS unit,
      c.sku IS NOT NULL AS is_used,
      b.sku IS NOT NULL AS is_billed,
      COALESCE(c.cost, 0) AS computed_cost,
      COALESCE(b.cost, 0) AS billed_cost,
      c.list_cost AS computed_list_cost,
      b.list_cost AS billed_list_cost,
      IF(c.sku IS NULL, 0, c.quantity) AS computed_quantity,
      c.priced_quantity,
      c.unpriced_quantity,
      COALESCE(c.unpriced_rows, 0) AS unpriced_rows,
      c.unpriced_reason,
      c.unpriced_reasons,
      c.caveats,
      c.row_count AS usage_rows,
      b.sku IS NOT NULL AND c.sku IS NOT NULL AND b.quantity IS NULL AS is_implied,
      CASE
        WHEN b.sku IS NULL THEN 0
        WHEN b.quantity IS NULL AND c.sku IS NOT NULL THEN c.quantity
        ELSE b.quantity
      END AS billed_quantity,
      COALESCE(b.is_credit, FALSE) AS is_credit,
      COALESCE(b.is_known, FALSE) AS is_known,
      ROUND(b.book_cost, 9) AS book_cost,
      t.tier_effect,
      b.first_line,
      b.line_count,
      c.price_ids,
      {% for one in caveats %}
      COALESCE(c.caveat_{{ one.number }}_bound, 0) AS caveat_{{ one.number }}_bound,
      {% endfor %}
      {% for one in factors %}
      COALESCE(b.factor_{{ one.number }}_amount, 0) AS factor_{{ one.number }}_possible,
      b.factor_{{ one.number }}_quantity,
      b.factor_{{ one.number }}_line,
      {% endfor %}
      {{ nano }} * (COALESCE(c.row_count, 0) + COALESCE(b.row_count, 0)) AS tolerance,
      NOT (@has_usage AND @has_bill) AS is_one_side,
      COALESCE(c.currency != b.currency, FALSE) AS is_cross
    FROM usage_side AS c
    FULL JOIN billed AS b
      ON
        b.sub_account = c.sub_account
        AND b.sku = c.sku
        AND b.meter = c.meter
        AND b.currency = c.bill_currency
    LEFT JOIN tier_effects AS t
      ON
        t.sub_account = COALESCE(b.sub_account, c.sub_account)
        AND t.sku = COALESCE(b.sku, c.sku)
        AND t.meter = COALESCE(b.meter, c.meter)
  ),
  differences AS (
    SELECT
      *,
      IF(is_one_side OR is_cross, NULL, billed_cost - computed_cost) AS difference
    FROM cells
  ),
  effects AS (
    SELECT
      *,
      CASE
        WHEN NOT is_billed THEN difference
        WHEN NOT is_used THEN IF(difference IS NULL, NULL, COALESCE(book_cost, difference))
        WHEN difference IS NULL OR is_implied OR computed_quantity IS NULL THEN difference * 0
        WHEN tier_effect IS NOT NULL THEN ROUND(tier_effect, 9)
        WHEN COALESCE(priced_quantity, 0) > 0
          THEN ROUND((billed_quantity - computed_quantity) * computed_cost / priced_quantity, 9)
        ELSE 0
      END AS quantity_effect,
      IF(ABS(difference) <= tolerance, difference, 0) AS rounding
    FROM differences
  ),
  -- The reasons, one after the other. `open_quantity` and `rest` are what is left of the two effects.
  quantity_steps AS (
    SELECT
      *,
      CASE
        WHEN difference IS NULL OR ABS(difference) <= tolerance OR @bill_is_final THEN 0
        WHEN is_implied AND difference < 0 AND billed_list_cost IS NULL THEN difference
        WHEN is_implied AND difference < 0
          THEN GREATEST(difference, LEAST(billed_list_cost - COALESCE(computed_list_cost, 0), 0))
        WHEN NOT is_implied AND billed_quantity < computed_quantity THEN quantity_effect
        ELSE 0
      END AS not_billed_yet
    FROM effects
  ),
  open_effects AS (
    SELECT
      *,
      CASE
        WHEN ABS(difference) <= tolerance THEN 0
        WHEN NOT is_implied AND not_billed_yet != 0 THEN 0
        ELSE quantity_effect
      END AS open_quantity,
      CASE
        WHEN ABS(difference) <= tolerance THEN 0
        WHEN is_implied THEN difference - quantity_effect - not_billed_yet
        ELSE difference - quantity_effect
      END AS rest_0
    FROM quantity_steps
  ),
  -- A line that names its factor has the amount of this factor, whatever else the row has.
  factor_steps AS (
    SELECT
      *,
      {% for one in factors %}
      IF(ABS(difference) <= tolerance OR rest_0 = 0, 0, factor_{{ one.number }}_possible) AS factor_{{ one.number }}_amount,
      {% endfor %}
      IF(
        ABS(difference) <= tolerance OR rest_0 = 0,
        rest_0,
        rest_0{% for one in factors %} - factor_{{ one.number }}_possible{% endfor %}

      ) AS rest_1
    FROM open_effects
  ),
  -- The discount that the bill's own list amount states; an org's own rates may have it already.
  list_steps AS (
    SELECT
      *,
      IF(
        is_used AND billed_list_cost IS NOT NULL
          AND ABS(rest_1 - (billed_cost - billed_list_cost)) < ABS(rest_1),
        {{ take("billed_cost - billed_list_cost", "rest_1") }},
        0
      ) AS stated_discount,
      -- One ratio of many models and days is a contract; the run finds it.
      IF(
        is_used AND {{ undate("sku") }} IN UNNEST(@discount_skus),
        (@discount_ratio - 1) * (computed_cost{% for one in factors %} + factor_{{ one.number }}_amount{% endfor %}),
        0
      ) AS possible_discount
    FROM factor_steps
  ),
  discount_steps AS (
    SELECT
      * EXCEPT (possible_discount),
      IF(
        stated_discount = 0 AND ABS(rest_1 - possible_discount) < ABS(rest_1),
        -- The ratio is known to six decimals.
        IF(
          ABS(rest_1 - possible_discount) <= tolerance + ABS(computed_cost) * NUMERIC '0.000001',
          rest_1,
          ROUND(possible_discount, 9)
        ),
        0
      ) AS found_discount
    FROM list_steps
  ),
  declared_start AS (
    SELECT *, rest_1 - stated_discount - found_discount AS declared_rest_0
    FROM discount_steps
  ),
  -- What the organization says of its bill: a part of the quantity at the factor fits as well.
  {% for one in declared %}
  declared_steps_{{ one.number }} AS (
    SELECT
      *,
      declared_rest_{{ loop.index0 }} - declared_{{ one.number }}_amount AS declared_rest_{{ loop.index }}
    FROM (
      SELECT
        *,
        IF(
          REGEXP_CONTAINS(sku, @declared_{{ one.number }}_models),
          {{ take(within("ROUND(computed_cost * (@declared_" ~ one.number ~ " - 1), 9)", "declared_rest_" ~ loop.index0), "declared_rest_" ~ loop.index0) }},
          0
        ) AS declared_{{ one.number }}_amount
      FROM {% if loop.first %}declared_start{% else %}declared_steps_{{ loop.index0 }}{% endif %}

    )
  ),
  {% endfor %}
  {% set before = "declared_rest_" ~ (declared | length) %}
  unpriced_steps AS (
    SELECT
      *,
      CASE
        WHEN unpriced_rows = 0 OR {{ before }} <= 0 THEN 0
        WHEN COALESCE(priced_quantity, 0) = 0 OR COALESCE(computed_quantity, 0) = 0 THEN {{ before }}
        ELSE LEAST({{ before }}, ROUND(billed_cost * unpriced_quantity / computed_quantity, 9))
      END AS unpriced
    FROM {% if declared %}declared_steps_{{ declared | length }}{% else %}declared_start{% endif %}

  ),
  caveat_start AS (
    SELECT *, {{ before }} - unpriced AS caveat_rest_0
    FROM unpriced_steps
  ),
  {% for one in caveats %}
  caveat_steps_{{ one.number }} AS (
    SELECT
      *,
      caveat_rest_{{ loop.index0 }} - caveat_{{ one.number }}_amount AS caveat_rest_{{ loop.index }}
    FROM (
      SELECT
        *,
        {{ take(within("ROUND(caveat_" ~ one.number ~ "_bound, 9)", "caveat_rest_" ~ loop.index0), "caveat_rest_" ~ loop.index0) }} AS caveat_{{ one.number }}_amount
      FROM {% if loop.first %}caveat_start{% else %}caveat_steps_{{ loop.index0 }}{% endif %}

    )
  ),
  {% endfor %}
  last_steps AS (
    SELECT
      * REPLACE (IF(ABS(price_rest) <= tolerance, 0, price_rest) AS price_rest),
      -- What is less than the rounding of the rows goes to it.
      rounding + IF(ABS(price_rest) <= tolerance, price_rest, 0) AS rounding_amount
    FROM (
      SELECT *, caveat_rest_{{ caveats | length }} AS price_rest
      FROM {% if caveats %}caveat_steps_{{ caveats | length }}{% else %}caveat_start{% endif %}

    )
  ),
  reasoned AS (
    SELECT
      last_steps.*,
      states.bill_state,
      states.usage_state,
      IF(NOT is_used AND (is_credit OR NOT is_known), open_quantity + price_rest, 0) AS no_meter,
      IF(NOT is_used AND (is_credit OR NOT is_known), 0, price_rest) AS price_left,
      IF(NOT is_used AND (is_credit OR NOT is_known), 0, open_quantity) AS quantity_left
    FROM last_steps
    CROSS JOIN states
  ),
  complete AS (
    SELECT
      *,
      CASE
        WHEN is_one_side
          THEN [STRUCT('one_side' AS reason, CAST(NULL AS NUMERIC) AS amount, FALSE AS is_explained, TO_JSON_STRING(STRUCT(@has_usage AS has_usage, @has_bill AS has_bill)) AS evidence)]
        WHEN is_cross
          THEN [STRUCT('currency' AS reason, CAST(NULL AS NUMERIC) AS amount, FALSE AS is_explained, TO_JSON_STRING(STRUCT(computed_currency, currency AS billed_currency)) AS evidence)]
        ELSE
          ARRAY(
            SELECT AS STRUCT reason, amount, is_explained, evidence
            FROM UNNEST([
              STRUCT('rounding' AS reason, CAST(rounding_amount AS NUMERIC) AS amount, TRUE AS is_explained, TO_JSON_STRING(STRUCT(tolerance AS max_amount)) AS evidence),
              STRUCT('not_billed_yet', not_billed_yet, TRUE, TO_JSON_STRING(STRUCT(@bill_finality AS bill_finality, computed_quantity, billed_quantity, is_implied AS is_implied_quantity))),
              STRUCT(COALESCE(unpriced_reason, 'unpriced'), unpriced, TRUE, TO_JSON_STRING(STRUCT(unpriced_reasons AS unpriced_reasons, unpriced_quantity AS quantity, first_line AS line))),
              {% for one in caveats %}
              STRUCT('{{ one.name }}', caveat_{{ one.number }}_amount, TRUE, TO_JSON_STRING(STRUCT(caveats AS price_caveats, caveat_{{ one.number }}_bound AS max_amount))),
              {% endfor %}
              {% for one in factors %}
              STRUCT('{{ one.name }}', factor_{{ one.number }}_amount, TRUE, TO_JSON_STRING(STRUCT(factor_{{ one.number }}_line AS line, factor_{{ one.number }}_quantity AS quantity, {% if one.columns %}'{{ one.columns[0] }}'{% else %}CAST(NULL AS STRING){% endif %} AS column_name))),
              {% endfor %}
              {% for one in declared %}
              STRUCT('{{ one.name }}', declared_{{ one.number }}_amount, TRUE, TO_JSON_STRING(STRUCT(@declared_{{ one.number }} AS factor, 'setting of the organization' AS source))),
              {% endfor %}
              STRUCT('contract_discount', stated_discount, TRUE, TO_JSON_STRING(STRUCT(computed_list_cost, billed_list_cost, 'list amount of the bill' AS source))),
              STRUCT('contract_discount', found_discount, TRUE, TO_JSON_STRING(STRUCT(@discount_ratio AS ratio, 'one ratio of several models and days' AS source))),
              STRUCT(IF(is_credit, 'credit', 'no_meter'), no_meter, TRUE, TO_JSON_STRING(STRUCT(first_line AS line, line_count AS lines, billed_quantity AS quantity, unit))),
              STRUCT(
                CASE
                  WHEN NOT (@bill_is_final AND @usage_is_final) THEN 'unexplained'
                  WHEN NOT is_used OR billed_quantity > computed_quantity THEN 'usage_missing'
                  ELSE 'bill_missing'
                END,
                quantity_left,
                (@bill_is_final AND @usage_is_final) AND CASE
                  WHEN NOT is_used OR billed_quantity > computed_quantity THEN usage_state != 'published'
                  ELSE bill_state != 'covers'
                END,
                TO_JSON_STRING(STRUCT(computed_quantity, billed_quantity, bill_state, usage_state, @bill_finality AS bill_finality, @usage_finality AS usage_finality))
              ),
              STRUCT(
                IF(is_billed AND (is_used OR book_cost IS NOT NULL), 'price_differs', 'unexplained'),
                price_left,
                FALSE,
                TO_JSON_STRING(STRUCT(computed_cost, billed_cost, computed_quantity AS quantity, price_ids, caveats AS price_caveats, first_line AS line))
              )
            ])
            WHERE amount != 0
          )
      END AS reasons,
      ARRAY(
        SELECT candidate
        FROM UNNEST([
          {% for one in factors %}
          {% set value = "IF(STRPOS(meter, 'output') > 0, @factor_" ~ one.number ~ "_output, @factor_" ~ one.number ~ ")" %}
          -- A share of the quantity at the factor fits as well.
          IF(
            price_left != 0 AND computed_cost != 0 AND {{ value }} IS NOT NULL
              AND SIGN(price_left) = SIGN(({{ value }} - 1) * computed_cost)
              AND ABS(price_left) <= ABS(({{ value }} - 1) * computed_cost) + tolerance,
            '{{ one.name }}',
            NULL
          ),
          {% endfor %}
          IF(price_left != 0 AND computed_cost > 0 AND price_left < 0, 'contract_discount', NULL),
          IF(price_left != 0, caveats, NULL)
        ]) AS candidate
        WHERE candidate IS NOT NULL
        GROUP BY candidate
        ORDER BY candidate
      ) AS candidates
    FROM reasoned
  ),
  -- A published day without usage and bill has one row, since a day without rows is a missing one.
  marker AS (SELECT 1 AS number FROM states WHERE NOT EXISTS (SELECT 1 FROM complete))
SELECT
  @day AS usage_date,
  @org_slug AS org_slug,
  @stream AS cost_stream,
  NULLIF(sub_account, '') AS sub_account_id,
  NULLIF(sku, '') AS sku_id,
  NULLIF(meter, '') AS sku_meter,
  currency AS billing_currency,
  computed_currency,
  unit AS consumed_unit,
  IF(is_used, computed_quantity, NULL) AS computed_quantity,
  IF(is_billed, billed_quantity, NULL) AS billed_quantity,
  is_implied AS is_implied_quantity,
  IF(is_used, computed_cost * 1000000 / NULLIF(priced_quantity, 0), NULL) AS computed_price_per_million,
  IF(is_billed, billed_cost * 1000000 / NULLIF(billed_quantity, 0), NULL) AS billed_price_per_million,
  price_ids,
  IF(is_used OR NOT is_one_side, computed_cost, NULL) AS computed_cost,
  IF(is_billed OR NOT is_one_side, billed_cost, NULL) AS billed_cost,
  difference,
  quantity_effect,
  difference - quantity_effect AS price_effect,
  reasons,
  candidates,
  NOT (is_one_side OR is_cross) AS is_comparable,
  bill_state,
  usage_state,
  @finality AS finality,
  @usage_run_id AS usage_run_id,
  @bill_run_id AS bill_run_id
FROM complete
UNION ALL
SELECT
  @day, @org_slug, @stream, NULL, NULL, NULL, @currency, @currency, NULL, NULL, NULL, FALSE, NULL, NULL, NULL, 0, 0, 0, 0, 0, [], [], TRUE,
  (SELECT bill_state FROM states), (SELECT usage_state FROM states),
  @finality, @usage_run_id, @bill_run_id
FROM marker

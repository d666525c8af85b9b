{% macro rate(book, meter) -%}
COALESCE({% for column in meter.rates %}{% if not loop.first %}, {% endif %}{{ book }}.{{ column }}{% endfor %})
{%- endmacro %}
-- One UTC day of usage, priced: one row out for each row in. Each vendor's statement extends this
-- one: its block `quantities` turns usage into quantities, its block `names` adds names to find a
-- price by. The meters come from the step's configuration: for each, the column of its quantity,
-- the columns of its rate, and the reason that a row without this rate has.
--
-- The columns of `quantities`:
--   those of the cost table that describe the usage, and the quantity of each meter
--   sku, priced_tier     what a price is found by; NULL where unknown
--   priced_…             the same for each column of price_keys
--   unit                 what is counted, such as call; NULL where tokens are counted
--   required_unit        the unit that the price must have; NULL for any
--   prompt_tokens        compared with the length above which a price has other rates
--   usage_reason         why the usage can't be priced, whatever the prices are; NULL if it can
--   usage_caveat         what the cost depends on and the usage does not show; NULL for nothing
--
-- Exact until the end: the multiplication by 0.000001 rounds half away from zero to NUMERIC's 9
-- decimals.
WITH
  quantities AS (
    {% block quantities %}
    SELECT *
    FROM `{{ project }}.{{ dataset }}.{{ usage_table }}`
    WHERE usage_date = @day
    {% endblock %}
  ),
  skus AS (
    SELECT DISTINCT sku, priced_tier{% for key in price_keys %}, priced_{{ key }}{% endfor %}
    FROM quantities
    WHERE sku IS NOT NULL AND priced_tier IS NOT NULL
  ),
  names AS (
    SELECT *, sku AS price_model_id, 'model' AS price_match, 1 AS distance
    FROM skus
    {% block names %}{% endblock %}
  ),
  prices AS (
    SELECT *
    FROM `{{ project }}.{{ dataset }}.{{ pricing_table }}`
    WHERE effective_from <= @day AND (effective_to IS NULL OR effective_to > @day)
  ),
  matches AS (
    SELECT
      names.sku,
      {% for key in price_keys %}
      names.priced_{{ key }},
      {% endfor %}
      names.price_match,
      names.distance,
      prices.*
    FROM names
    JOIN prices
      ON
        prices.model_id = names.price_model_id
        AND prices.service_tier = names.priced_tier
        {% for key in price_keys %}
        AND prices.{{ key }} IN ('any', names.priced_{{ key }})
        {% endfor %}
  ),
  -- The nearest name wins, then the org's own rate, then the rate for this very key. There is one
  -- price for each SKU, so that joining them to the usage does not multiply its rows.
  {% for book, accepted in [("contracted", "TRUE"), ("listed", "NOT is_override")] %}
  {{ book }} AS (
    SELECT *
    FROM matches
    WHERE {{ accepted }}
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY sku, service_tier{% for key in price_keys %}, priced_{{ key }}{% endfor %}
        ORDER BY
          distance,
          is_override DESC,
          {% for key in price_keys %}
          {{ key }} = 'any',
          {% endfor %}
          effective_from DESC
      ) = 1
  ),
  {% endfor %}
  known AS (
    SELECT
      names.sku,
      names.priced_tier,
      LOGICAL_OR(book.service_tier = names.priced_tier) AS has_tier
    FROM names
    JOIN `{{ project }}.{{ dataset }}.{{ pricing_table }}` AS book
      ON book.model_id = names.price_model_id
    GROUP BY names.sku, names.priced_tier
  ),
  explained AS (
    SELECT
      q.*,
      contracted.price_match,
      contracted.model_id AS price_model_id,
      {% for key in price_keys %}
      contracted.{{ key }} AS price_{{ key }},
      {% endfor %}
      contracted.is_override AS price_is_override,
      contracted.effective_from AS price_effective_from,
      contracted.price_version,
      contracted.source_url AS price_source_url,
      contracted.currency AS price_currency,
      NULLIF(
        ARRAY_TO_STRING(
          [
            IF(
              q.prompt_tokens > contracted.long_context_above_tokens,
              'long_context_not_visible',
              NULL
            ),
            {% for meter in token_meters %}
            {% for caveat in meter.caveats %}
            IF(q.{{ meter.quantity }} > 0 AND contracted.{{ meter.rates[0] }} IS NULL, '{{ caveat }}', NULL),
            {% endfor %}
            {% endfor %}
            q.usage_caveat
          ],
          ','
        ),
        ''
      ) AS caveats,
      CASE
        WHEN q.usage_reason IS NOT NULL THEN q.usage_reason
        WHEN contracted.model_id IS NULL AND known.sku IS NULL THEN 'no_price'
        WHEN contracted.model_id IS NULL AND known.has_tier THEN 'no_price_on_day'
        WHEN contracted.model_id IS NULL THEN 'no_price_for_tier'
        {% for meter in unit_meters %}
        WHEN q.unit IS NOT NULL AND {{ rate("contracted", meter) }} IS NULL
          THEN '{{ meter.no_rate }}'
        {% endfor %}
        WHEN contracted.unit != q.required_unit THEN 'unknown_unit'
        {% for meter in token_meters %}
        WHEN
          q.{{ meter.quantity }} > 0{% if meter.rates %} AND {{ rate("contracted", meter) }} IS NULL{% endif %}

          THEN '{{ meter.no_rate }}'
        {% endfor %}
      END AS unpriced_reason,
      -- The exact product of each meter. A quantity of zero needs no rate; a quantity without a rate
      -- leaves no cost at all.
      {% for book in ["contracted", "listed"] %}
      {% for meter in unit_meters %}
      IF(q.unit IS NULL, 0, q.{{ meter.quantity }} * {{ rate(book, meter) }}) AS {{ book }}_{{ meter.quantity }},
      {% endfor %}
      {% for meter in token_meters if meter.rates %}
      IF(q.unit IS NOT NULL OR q.{{ meter.quantity }} = 0, 0, q.{{ meter.quantity }} * {{ rate(book, meter) }}) AS {{ book }}_{{ meter.quantity }},
      {% endfor %}
      {% endfor %}
      {% for meter in unit_meters + token_meters if meter.rates %}
      {{ rate("listed", meter) }} AS list_rate_{{ meter.quantity }},
      {{ rate("contracted", meter) }} AS contracted_rate_{{ meter.quantity }}{% if not loop.last %},{% endif %}

      {% endfor %}
    FROM quantities AS q
    {% for book in ["contracted", "listed"] %}
    LEFT JOIN {{ book }}
      ON
        {{ book }}.sku = q.sku
        AND {{ book }}.service_tier = q.priced_tier
        {% for key in price_keys %}
        AND {{ book }}.priced_{{ key }} = q.priced_{{ key }}
        {% endfor %}
        {% if not loop.first %}AND listed.currency = contracted.currency{% endif %}

    {% endfor %}
    LEFT JOIN known
      ON known.sku = q.sku AND known.priced_tier = q.priced_tier
  ),
  -- Tokens × price per million are summed exactly, and the sum is multiplied by 0.000001 once. A
  -- meter's amount is what it adds to the rounded sum of the meters before it, so that the meters of
  -- a row add up to the row exactly.
  summed AS (
    SELECT
      *,
      {% for book in ["contracted", "listed"] %}
      {% for meter in unit_meters %}
      {{ book }}_{{ meter.quantity }} + {% endfor %}({% for meter in token_meters if meter.rates %}{{ book }}_{{ meter.quantity }}{% if not loop.last %} + {% endif %}{% endfor %}) * NUMERIC '0.000001' AS {{ book }}_amount,
      {% for meter in token_meters if meter.rates %}
      ({% for one in token_meters[: loop.index0 + 1] if one.rates %}{{ book }}_{{ one.quantity }}{% if not loop.last %} + {% endif %}{% endfor %}) * NUMERIC '0.000001' AS {{ book }}_until_{{ meter.quantity }}{% if not loop.last %},{% endif %}

      {% endfor %}
      {% if not loop.last %},{% endif %}

      {% endfor %}
    FROM explained
  ),
  priced AS (
    SELECT
      *,
      -- Where no public rate covers the usage, the org's own is the only list there is.
      IF(unpriced_reason IS NULL, COALESCE(listed_amount, contracted_amount), NULL) AS list_cost,
      IF(unpriced_reason IS NULL, contracted_amount, NULL) AS contracted_cost,
      IF(unpriced_reason IS NULL, contracted_amount, NULL) AS billed_cost,
      IF(unpriced_reason IS NULL, contracted_amount, NULL) AS effective_cost,
      IF(unpriced_reason IS NULL, price_currency, NULL) AS currency,
      IF(unpriced_reason IS NULL, 'PRICED', 'UNPRICED') AS pricing_status,
      IF(unpriced_reason IS NULL, caveats, NULL) AS price_caveat,
      ARRAY(SELECT AS STRUCT * FROM UNNEST([
        {% for meter in unit_meters %}
        STRUCT(
          '{{ meter.quantity }}' AS meter,
          IF(unit IS NULL, 0, {{ meter.quantity }}) AS quantity,
          COALESCE(list_rate_{{ meter.quantity }}, contracted_rate_{{ meter.quantity }}) AS list_rate,
          contracted_rate_{{ meter.quantity }} AS contracted_rate,
          IF(unpriced_reason IS NULL, IF(listed_amount IS NULL, contracted_{{ meter.quantity }}, listed_{{ meter.quantity }}), NULL) AS list_cost,
          IF(unpriced_reason IS NULL, contracted_{{ meter.quantity }}, NULL) AS contracted_cost
        ),
        {% endfor %}
        {% set ns = namespace(before='') %}
        {% for meter in token_meters %}
        {% if meter.rates %}
        STRUCT(
          '{{ meter.quantity }}' AS meter,
          IF(unit IS NULL, {{ meter.quantity }}, 0) AS quantity,
          COALESCE(list_rate_{{ meter.quantity }}, contracted_rate_{{ meter.quantity }}) AS list_rate,
          contracted_rate_{{ meter.quantity }} AS contracted_rate,
          IF(
            unpriced_reason IS NULL,
            IF(
              listed_amount IS NULL,
              contracted_until_{{ meter.quantity }}{% if ns.before %} - contracted_until_{{ ns.before }}{% endif %},
              listed_until_{{ meter.quantity }}{% if ns.before %} - listed_until_{{ ns.before }}{% endif %}

            ),
            NULL
          ) AS list_cost,
          IF(
            unpriced_reason IS NULL,
            contracted_until_{{ meter.quantity }}{% if ns.before %} - contracted_until_{{ ns.before }}{% endif %},
            NULL
          ) AS contracted_cost
        ){% if not loop.last %},{% endif %}

        {% set ns.before = meter.quantity %}
        {% else %}
        STRUCT(
          '{{ meter.quantity }}' AS meter,
          IF(unit IS NULL, {{ meter.quantity }}, 0) AS quantity,
          CAST(NULL AS NUMERIC) AS list_rate,
          CAST(NULL AS NUMERIC) AS contracted_rate,
          CAST(NULL AS NUMERIC) AS list_cost,
          CAST(NULL AS NUMERIC) AS contracted_cost
        ){% if not loop.last %},{% endif %}

        {% endif %}
        {% endfor %}
      ]) WHERE quantity != 0) AS meters
    FROM summed
  )
SELECT
  {{ columns | join(",\n  ") }}
FROM priced

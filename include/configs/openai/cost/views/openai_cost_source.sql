{% extends "system/sql/costs/computed_source.sql" %}
-- OpenAI's computed cost by day, endpoint, model, meter, tier, project, key and user. Days that were
-- priced before meters were recorded have one row of each usage row.
{% block cost %}
    SELECT
      'openai' AS provider,
      'openai_cost_daily' AS source_table,
      'OpenAI API' AS service,
      'OpenAI' AS vendor,
      usage_date, pricing_status, unpriced_reason, price_caveat, price_version, currency,
      price_effective_from, price_is_override,
      -- A tool's calls are a line of their own, not one of the model's tokens.
      CASE
        WHEN priced.unit IN ('call', 'session') THEN COALESCE(price_model_id, endpoint)
        ELSE COALESCE(priced.model, IF(endpoint = 'vector_stores', endpoint, NULL))
      END AS model,
      COALESCE(priced_tier, service_tier) AS tier,
      CASE
        WHEN priced.unit IN ('call', 'session') THEN COALESCE(price_model_id, endpoint)
        ELSE COALESCE(priced.model, IF(endpoint = 'vector_stores', endpoint, NULL))
      END AS sku,
      CASE
        WHEN priced.unit IS NOT NULL THEN CONCAT(priced.unit, 's')
        -- The bill has one line for both retentions.
        WHEN part.meter = 'cache_write_12h_tokens' THEN 'cache_write_tokens'
        ELSE COALESCE(part.meter, endpoint)
      END AS meter,
      CONCAT(COALESCE(priced.model, IF(priced.unit IS NULL, 'unknown model', '')), ' ', endpoint)
        AS description,
      CONCAT(price_model_id, '/', priced_tier) AS price_name,
      project_id AS sub_account,
      IF(project_id IS NULL, NULL, 'Project') AS sub_account_type,
      CAST(NULL AS STRING) AS billing_account,
      key_name AS api_key,
      user_id AS user,
      CAST(NULL AS STRING) AS context_window,
      -- Requests are counted once for each row of usage, with its first meter.
      SUM(IF(COALESCE(number, 0) = 0, num_model_requests, NULL)) AS requests,
      SUM(IF(part.meter IS NULL, priced.list_cost, part.list_cost)) AS list_cost,
      SUM(IF(part.meter IS NULL, priced.contracted_cost, part.contracted_cost)) AS contracted_cost,
      SUM(IF(part.meter IS NULL, priced.billed_cost, part.contracted_cost)) AS billed_cost,
      SUM(IF(part.meter IS NULL, priced.effective_cost, part.contracted_cost)) AS effective_cost,
      CAST(SUM(COALESCE(part.quantity, units, total_tokens)) AS NUMERIC) AS quantity,
      COALESCE(CONCAT(INITCAP(priced.unit), 's'), 'Tokens') AS unit
    FROM
      (
        SELECT
          *,
          -- Where an endpoint states keys, a row without one is of calls without a key.
          COALESCE(
            api_key_id,
            IF(COUNT(api_key_id) OVER (PARTITION BY usage_date, endpoint) > 0, 'no_key', NULL)
          ) AS key_name
        FROM `{{ project }}.{{ dataset }}.openai_cost_daily`
      ) AS priced
    LEFT JOIN UNNEST(priced.meters) AS part
      WITH OFFSET AS number
    GROUP BY
      usage_date, pricing_status, unpriced_reason, price_caveat, price_version, priced.model,
      priced_tier, service_tier, endpoint, priced.unit, currency, price_model_id,
      price_effective_from, price_is_override, project_id, key_name, user_id, meter
{% endblock %}

{% extends "system/sql/costs/computed_source.sql" %}
-- OpenAI's share of cost_daily: computed cost by day, endpoint, model, tier and project.
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
      IF(priced.unit IS NULL, priced.model, COALESCE(price_model_id, priced.model)) AS sku,
      endpoint AS meter,
      CONCAT(COALESCE(priced.model, IF(priced.unit IS NULL, 'unknown model', '')), ' ', endpoint)
        AS description,
      CONCAT(price_model_id, '/', priced_tier) AS price_name,
      project_id AS sub_account,
      IF(project_id IS NULL, NULL, 'Project') AS sub_account_type,
      SUM(num_model_requests) AS requests,
      SUM(list_cost) AS list_cost,
      SUM(contracted_cost) AS contracted_cost,
      SUM(billed_cost) AS billed_cost,
      SUM(effective_cost) AS effective_cost,
      SUM(COALESCE(units, total_tokens)) AS quantity,
      COALESCE(CONCAT(INITCAP(priced.unit), 's'), 'Tokens') AS unit
    FROM `{{ project }}.{{ dataset }}.openai_cost_daily` AS priced
    GROUP BY
      usage_date, pricing_status, unpriced_reason, price_caveat, price_version, priced.model,
      priced_tier, service_tier, endpoint, priced.unit, currency, price_model_id,
      price_effective_from, price_is_override, project_id
{% endblock %}

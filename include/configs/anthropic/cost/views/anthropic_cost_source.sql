{% extends "system/sql/costs/computed_source.sql" %}
-- Anthropic's computed cost by day, model or tool, meter, tier, context window, workspace and key.
-- Days that were priced before meters were recorded have one row of each usage row.
{% block cost %}
    SELECT
      'anthropic' AS provider,
      'anthropic_cost_daily' AS source_table,
      'Claude API' AS service,
      'Anthropic' AS vendor,
      usage_date, pricing_status, unpriced_reason, price_caveat, price_version, currency,
      price_effective_from, price_is_override,
      -- A tool's calls are a line of their own, not one of the model's tokens.
      IF(cost_type = 'tokens', priced.model, cost_type) AS model,
      -- As the bill has it; the price's name says where fast mode has rates of its own.
      COALESCE(service_tier, priced_tier) AS tier,
      IF(cost_type = 'tokens', priced.model, cost_type) AS sku,
      IF(cost_type = 'tokens', COALESCE(part.meter, cost_type), 'searches') AS meter,
      CONCAT(
        COALESCE(priced.model, 'unknown model'), IF(cost_type = 'tokens', ' tokens', ' web search')
      ) AS description,
      CONCAT(price_model_id, '/', priced_tier, '/', price_context_window) AS price_name,
      COALESCE(workspace_id, 'default') AS sub_account,
      'Workspace' AS sub_account_type,
      CAST(NULL AS STRING) AS billing_account,
      key_name AS api_key,
      account_id AS user,
      context_window,
      -- Requests are counted once for each row of usage, with its first meter.
      SUM(IF(COALESCE(number, 0) = 0, requests, NULL)) AS requests,
      SUM(IF(part.meter IS NULL, priced.list_cost, part.list_cost)) AS list_cost,
      SUM(IF(part.meter IS NULL, priced.contracted_cost, part.contracted_cost)) AS contracted_cost,
      SUM(IF(part.meter IS NULL, priced.billed_cost, part.contracted_cost)) AS billed_cost,
      SUM(IF(part.meter IS NULL, priced.effective_cost, part.contracted_cost)) AS effective_cost,
      CAST(
        SUM(COALESCE(part.quantity, IF(cost_type = 'tokens', total_tokens, web_search_requests)))
        AS NUMERIC
      ) AS quantity,
      IF(cost_type = 'tokens', 'Tokens', 'Searches') AS unit
    FROM
      (
        SELECT
          *,
          COALESCE(
            api_key_id,
            IF(COUNT(api_key_id) OVER (PARTITION BY usage_date) > 0, 'workbench', NULL)
          ) AS key_name
        FROM `{{ project }}.{{ dataset }}.anthropic_cost_daily`
      ) AS priced
    LEFT JOIN UNNEST(priced.meters) AS part
      WITH OFFSET AS number
    GROUP BY
      usage_date, pricing_status, unpriced_reason, price_caveat, price_version, priced.model,
      priced_tier, service_tier, cost_type, currency, price_model_id, price_context_window,
      price_effective_from, price_is_override, workspace_id, key_name, account_id,
      context_window, meter
{% endblock %}

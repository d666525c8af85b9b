{% extends "system/sql/costs/computed_source.sql" %}
-- Anthropic's computed share of cost_daily, by day, model or tool, tier and workspace.
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
      COALESCE(priced_tier, service_tier) AS tier,
      IF(cost_type = 'tokens', priced.model, cost_type) AS sku,
      cost_type AS meter,
      CONCAT(
        COALESCE(priced.model, 'unknown model'), IF(cost_type = 'tokens', ' tokens', ' web search')
      ) AS description,
      CONCAT(price_model_id, '/', priced_tier, '/', price_context_window) AS price_name,
      COALESCE(workspace_id, 'default') AS sub_account,
      'Workspace' AS sub_account_type,
      SUM(requests) AS requests,
      SUM(list_cost) AS list_cost,
      SUM(contracted_cost) AS contracted_cost,
      SUM(billed_cost) AS billed_cost,
      SUM(effective_cost) AS effective_cost,
      SUM(IF(cost_type = 'tokens', total_tokens, web_search_requests)) AS quantity,
      IF(cost_type = 'tokens', 'Tokens', 'Searches') AS unit
    FROM `{{ project }}.{{ dataset }}.anthropic_cost_daily` AS priced
    GROUP BY
      usage_date, pricing_status, unpriced_reason, price_caveat, price_version, priced.model,
      priced_tier, service_tier, cost_type, currency, price_model_id, price_context_window,
      price_effective_from, price_is_override, workspace_id
{% endblock %}

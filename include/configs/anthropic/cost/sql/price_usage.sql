{% extends "system/sql/prices/price_usage.sql" %}
-- One UTC day of anthropic_usage_daily_raw as quantities: tokens in one row, web searches in
-- another. The shared statement prices them; it says which columns it needs.
{% block quantities %}
    WITH
      usage AS (
        SELECT
          *,
          -- Fast mode has rates of its own; committed capacity has none in any list.
          CASE
            WHEN speed = 'fast' AND service_tier = 'standard' THEN 'fast'
            WHEN speed = 'fast' THEN NULL
            WHEN service_tier IN ('standard', 'batch', 'flex', 'priority') THEN service_tier
            WHEN service_tier = 'flex_discount' THEN 'flex'
          END AS tier,
          uncached_input_tokens + cache_read_input_tokens + cache_write_5m_input_tokens
            + cache_write_1h_input_tokens AS prompt_tokens,
          COALESCE(web_search_requests, 0) AS searches
        FROM `{{ project }}.{{ dataset }}.{{ usage_table }}`
        WHERE usage_date = @day
      ),
      items AS (
        SELECT
          usage_date, api, workspace_id, api_key_id, account_id, service_account_id, model,
          service_tier, context_window, inference_geo, speed,
          'tokens' AS cost_type,
          model AS sku,
          tier AS priced_tier,
          CAST(NULL AS STRING) AS unit,
          uncached_input_tokens, cache_read_input_tokens, cache_write_5m_input_tokens,
          cache_write_1h_input_tokens, output_tokens,
          0 AS web_search_requests,
          requests,
          prompt_tokens,
          prompt_tokens + output_tokens AS total_tokens
        FROM usage
        WHERE
          prompt_tokens + output_tokens IS NULL
          OR prompt_tokens + output_tokens != 0
          OR searches = 0
        UNION ALL
        -- Requests are counted once, with the tokens.
        SELECT
          usage_date, api, workspace_id, api_key_id, account_id, service_account_id, model,
          service_tier, context_window, inference_geo, speed,
          'web_search', 'web_search', 'standard', 'search', 0, 0, 0, 0, 0, searches, NULL, 0, 0
        FROM usage
        WHERE searches != 0
      )
    SELECT
      *,
      COALESCE(context_window, '0-200k') AS priced_context_window,
      CAST(NULL AS STRING) AS required_unit,
      CASE
        WHEN sku IS NULL THEN 'model_unknown'
        WHEN priced_tier = 'priority' THEN 'priority_tier'
        WHEN priced_tier IS NULL THEN 'tier_unknown'
        WHEN total_tokens IS NULL THEN 'token_counts_missing'
        WHEN
          LEAST(
            uncached_input_tokens, cache_read_input_tokens, cache_write_5m_input_tokens,
            cache_write_1h_input_tokens, output_tokens, web_search_requests
          ) < 0
          THEN 'counts_negative'
        -- Where a model may run only in one country, it costs more, and no list says it per model.
        WHEN
          unit IS NULL AND COALESCE(inference_geo, 'global') NOT IN ('global', 'not_available')
          THEN 'no_price_for_geo'
      END AS usage_reason,
      -- Newer models cost more where they may run in one country only. The report states the
      -- country where it is asked for it; a country that is not stated is unknown, not "global".
      IF(
        unit IS NULL
        AND inference_geo IS NULL
        AND NOT REGEXP_CONTAINS(
          model, r'^claude-([23]|instant|(opus|sonnet|haiku)-4(-[015])?(-\d{8})?$)'
        ),
        'inference_geo_not_stated',
        NULL
      ) AS usage_caveat
    FROM items
{% endblock %}
{% block names %}
    UNION ALL
    SELECT *, REGEXP_EXTRACT(sku, r'^(.+)-\d{8}$'), 'undated', 2
    FROM skus
{% endblock %}

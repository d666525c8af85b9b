-- One UTC day of anthropic_usage_daily_raw, priced: tokens in one row, web searches in another.
--
-- Exact until the end: tokens (INT64) × price per million (NUMERIC) are summed exactly, and the sum
-- is multiplied by 0.000001 once, which rounds it half away from zero to NUMERIC's 9 decimals.
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
        + cache_write_1h_input_tokens + output_tokens AS all_tokens,
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
      uncached_input_tokens,
      cache_read_input_tokens,
      cache_write_5m_input_tokens,
      cache_write_1h_input_tokens,
      output_tokens,
      all_tokens,
      0 AS web_search_requests,
      requests
    FROM usage
    WHERE all_tokens IS NULL OR all_tokens != 0 OR searches = 0
    UNION ALL
    -- Requests are counted once, with the tokens.
    SELECT
      usage_date, api, workspace_id, api_key_id, account_id, service_account_id, model,
      service_tier, context_window, inference_geo, speed,
      'web_search', 'web_search', 'standard', 0, 0, 0, 0, 0, 0, searches, NULL
    FROM usage
    WHERE searches != 0
  ),
  skus AS (
    SELECT DISTINCT sku, priced_tier, COALESCE(context_window, '0-200k') AS size
    FROM items
    WHERE sku IS NOT NULL AND priced_tier IS NOT NULL
  ),
  names AS (
    SELECT sku, priced_tier, size, sku AS price_model_id, 'model' AS price_match, 1 AS distance
    FROM skus
    UNION ALL
    SELECT sku, priced_tier, size, REGEXP_EXTRACT(sku, r'^(.+)-\d{8}$'), 'undated', 2
    FROM skus
  ),
  prices AS (
    SELECT *
    FROM `{{ project }}.{{ dataset }}.{{ pricing_table }}`
    WHERE effective_from <= @day AND (effective_to IS NULL OR effective_to > @day)
  ),
  matches AS (
    SELECT
      names.sku,
      names.size,
      names.price_match,
      names.distance,
      prices.*
    FROM names
    JOIN prices
      ON
        prices.model_id = names.price_model_id
        AND prices.service_tier = names.priced_tier
        AND prices.context_window IN ('any', names.size)
  ),
  -- The nearest name wins, then the org's own rate, then the one for this very context window.
  contracted AS (
    SELECT *
    FROM matches
    WHERE TRUE
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY sku, service_tier, size
        ORDER BY distance, is_override DESC, context_window = 'any', effective_from DESC
      ) = 1
  ),
  listed AS (
    SELECT *
    FROM matches
    WHERE NOT is_override
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY sku, service_tier, size
        ORDER BY distance, context_window = 'any', effective_from DESC
      ) = 1
  ),
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
      price.price_match,
      price.model_id AS price_model_id,
      price.context_window AS price_context_window,
      price.is_override AS price_is_override,
      price.effective_from AS price_effective_from,
      price.price_version,
      price.source_url AS price_source_url,
      price.currency AS price_currency,
      IF(
        q.uncached_input_tokens + q.cache_read_input_tokens + q.cache_write_5m_input_tokens
          + q.cache_write_1h_input_tokens > price.long_context_above_tokens,
        'long_context_not_visible',
        NULL
      ) AS caveat,
      CASE
        WHEN q.sku IS NULL THEN 'model_unknown'
        WHEN q.priced_tier = 'priority' THEN 'priority_tier'
        WHEN q.priced_tier IS NULL THEN 'tier_unknown'
        WHEN q.all_tokens IS NULL THEN 'token_counts_missing'
        WHEN
          LEAST(
            q.uncached_input_tokens, q.cache_read_input_tokens, q.cache_write_5m_input_tokens,
            q.cache_write_1h_input_tokens, q.output_tokens, q.web_search_requests
          ) < 0
          THEN 'counts_negative'
        -- Where a model may run only in one country, it costs more, and no list says it per model.
        WHEN
          q.cost_type = 'tokens'
          AND COALESCE(q.inference_geo, 'global') NOT IN ('global', 'not_available')
          THEN 'no_price_for_geo'
        WHEN price.model_id IS NULL AND known.sku IS NULL THEN 'no_price'
        WHEN price.model_id IS NULL AND known.has_tier THEN 'no_price_on_day'
        WHEN price.model_id IS NULL THEN 'no_price_for_tier'
        WHEN q.uncached_input_tokens > 0 AND price.input_per_million IS NULL THEN 'no_rate_input'
        WHEN q.cache_read_input_tokens > 0 AND price.cached_input_per_million IS NULL
          THEN 'no_rate_cached_input'
        WHEN
          q.cache_write_5m_input_tokens > 0 AND price.cache_write_5m_per_million IS NULL
          OR q.cache_write_1h_input_tokens > 0 AND price.cache_write_1h_per_million IS NULL
          THEN 'no_rate_cache_write'
        WHEN q.output_tokens > 0 AND price.output_per_million IS NULL THEN 'no_rate_output'
        WHEN q.web_search_requests > 0 AND price.unit_price IS NULL THEN 'no_rate_unit'
      END AS unpriced_reason,
      -- A class without tokens needs no rate; one with tokens and no rate leaves no cost at all.
      (
        IF(q.uncached_input_tokens = 0, 0, q.uncached_input_tokens * price.input_per_million)
        + IF(
          q.cache_read_input_tokens = 0,
          0,
          q.cache_read_input_tokens * price.cached_input_per_million
        )
        + IF(
          q.cache_write_5m_input_tokens = 0,
          0,
          q.cache_write_5m_input_tokens * price.cache_write_5m_per_million
        )
        + IF(
          q.cache_write_1h_input_tokens = 0,
          0,
          q.cache_write_1h_input_tokens * price.cache_write_1h_per_million
        )
        + IF(q.output_tokens = 0, 0, q.output_tokens * price.output_per_million)
      ) * NUMERIC '0.000001'
      + IF(q.web_search_requests = 0, 0, q.web_search_requests * price.unit_price)
        AS contracted_cost,
      (
        IF(q.uncached_input_tokens = 0, 0, q.uncached_input_tokens * public.input_per_million)
        + IF(
          q.cache_read_input_tokens = 0,
          0,
          q.cache_read_input_tokens * public.cached_input_per_million
        )
        + IF(
          q.cache_write_5m_input_tokens = 0,
          0,
          q.cache_write_5m_input_tokens * public.cache_write_5m_per_million
        )
        + IF(
          q.cache_write_1h_input_tokens = 0,
          0,
          q.cache_write_1h_input_tokens * public.cache_write_1h_per_million
        )
        + IF(q.output_tokens = 0, 0, q.output_tokens * public.output_per_million)
      ) * NUMERIC '0.000001'
      + IF(q.web_search_requests = 0, 0, q.web_search_requests * public.unit_price) AS list_cost
    FROM items AS q
    LEFT JOIN contracted AS price
      ON
        price.sku = q.sku
        AND price.service_tier = q.priced_tier
        AND price.size = COALESCE(q.context_window, '0-200k')
    LEFT JOIN listed AS public
      ON
        public.sku = q.sku
        AND public.service_tier = q.priced_tier
        AND public.size = COALESCE(q.context_window, '0-200k')
        AND public.currency = price.currency
    LEFT JOIN known
      ON known.sku = q.sku AND known.priced_tier = q.priced_tier
  )
SELECT
  usage_date,
  api,
  workspace_id,
  api_key_id,
  account_id,
  service_account_id,
  model,
  service_tier,
  context_window,
  inference_geo,
  speed,
  priced_tier,
  cost_type,
  uncached_input_tokens,
  cache_read_input_tokens,
  cache_write_5m_input_tokens,
  cache_write_1h_input_tokens,
  output_tokens,
  web_search_requests,
  requests,
  all_tokens AS total_tokens,
  -- Where no public rate covers the usage, the org's own is the only list there is.
  IF(unpriced_reason IS NULL, COALESCE(list_cost, contracted_cost), NULL) AS list_cost,
  IF(unpriced_reason IS NULL, contracted_cost, NULL) AS contracted_cost,
  IF(unpriced_reason IS NULL, contracted_cost, NULL) AS billed_cost,
  IF(unpriced_reason IS NULL, contracted_cost, NULL) AS effective_cost,
  IF(unpriced_reason IS NULL, price_currency, NULL) AS currency,
  IF(unpriced_reason IS NULL, 'PRICED', 'UNPRICED') AS pricing_status,
  unpriced_reason,
  IF(unpriced_reason IS NULL, caveat, NULL) AS price_caveat,
  price_model_id,
  price_match,
  price_context_window,
  price_is_override,
  price_effective_from,
  price_version,
  price_source_url
FROM explained

-- One UTC day of openai_usage_daily_raw, priced: one row out for each row in.
--
-- Exact until the end: tokens (INT64) × price per million (NUMERIC) are summed exactly, and the sum
-- is multiplied by 0.000001 once, which rounds it half away from zero to NUMERIC's 9 decimals.
-- Context size can't be told from daily usage: base-tier rates apply, and a caveat says so.
-- Tools and audio endpoints are counted in units of their own; a unit has a price of its own.
WITH
  usage AS (
    SELECT
      *,
      -- Models and tiers are matched by name. OpenAI's pricing page lists one rate for fast and
      -- priority. Only completions tell batch from the rest; the others are taken as standard.
      CASE
        WHEN endpoint = 'completions' AND batch IS NULL THEN NULL
        WHEN batch THEN 'batch'
        WHEN COALESCE(service_tier, 'default') IN ('default', 'standard') THEN 'standard'
        WHEN service_tier = 'flex' THEN 'flex'
        WHEN service_tier IN ('priority', 'fast') THEN 'priority'
      END AS priced_tier,
      CASE endpoint
        WHEN 'web_search_calls' THEN 'web_search'
        WHEN 'file_search_calls' THEN 'file_search'
        WHEN 'code_interpreter_sessions' THEN 'code_interpreter'
        ELSE model
      END AS sku,
      CASE
        WHEN endpoint IN ('web_search_calls', 'file_search_calls') THEN 'call'
        WHEN endpoint = 'code_interpreter_sessions' THEN 'session'
        WHEN endpoint = 'audio_speeches' THEN 'character'
        WHEN endpoint = 'audio_transcriptions' THEN 'second'
      END AS unit,
      CASE
        WHEN endpoint IN ('web_search_calls', 'file_search_calls') THEN num_requests
        WHEN endpoint = 'code_interpreter_sessions' THEN num_sessions
        WHEN endpoint = 'audio_speeches' THEN characters
        WHEN endpoint = 'audio_transcriptions' THEN seconds
      END AS units,
      COALESCE(input_cached_tokens, 0) AS all_cached,
      COALESCE(input_cache_write_12h_tokens, 0) AS written_12h,
      -- The plain count was once the sum of both retentions and is now the shorter one's.
      COALESCE(
        input_cache_write_30m_tokens,
        input_tokens - input_uncached_tokens - COALESCE(input_cached_tokens, 0)
          - COALESCE(input_cache_write_12h_tokens, 0),
        input_cache_write_tokens,
        0
      ) AS written_30m,
      COALESCE(input_cached_audio_tokens, 0) AS cached_audio,
      COALESCE(input_audio_tokens, 0) AS audio_in,
      COALESCE(output_audio_tokens, 0) AS audio_out,
      COALESCE(output_image_tokens, 0) AS image_out
    FROM `{{ project }}.{{ dataset }}.{{ usage_table }}`
    WHERE usage_date = @day
  ),
  quantities AS (
    SELECT
      *,
      -- Images in the input cost what text does; audio has rates of its own.
      COALESCE(
        input_uncached_tokens,
        input_tokens - all_cached - written_30m - written_12h
      ) - audio_in AS plain_in,
      all_cached - cached_audio AS plain_cached,
      COALESCE(output_tokens, 0) - audio_out - image_out AS plain_out
    FROM usage
  ),
  skus AS (
    SELECT DISTINCT sku, priced_tier
    FROM quantities
    WHERE sku IS NOT NULL AND priced_tier IS NOT NULL
  ),
  names AS (
    SELECT sku, priced_tier, sku AS price_model_id, 'model' AS price_match, 1 AS distance
    FROM skus
    UNION ALL
    SELECT sku, priced_tier, REGEXP_EXTRACT(sku, r'^(ft:[^:]+):'), 'fine_tune_base', 2
    FROM skus
    UNION ALL
    SELECT
      sku, priced_tier, REGEXP_EXTRACT(sku, r'^([^:]+)-\d{4}-\d{2}-\d{2}$'), 'snapshot_base', 3
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
      names.price_match,
      names.distance,
      prices.*
    FROM names
    JOIN prices
      ON prices.model_id = names.price_model_id AND prices.service_tier = names.priced_tier
  ),
  -- The nearest name wins, and among equals the org's own rate.
  contracted AS (
    SELECT *
    FROM matches
    WHERE TRUE
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY sku, service_tier
        ORDER BY distance, is_override DESC, effective_from DESC
      ) = 1
  ),
  listed AS (
    SELECT *
    FROM matches
    WHERE NOT is_override
    QUALIFY
      ROW_NUMBER() OVER (PARTITION BY sku, service_tier ORDER BY distance, effective_from DESC) = 1
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
      price.is_override AS price_is_override,
      price.effective_from AS price_effective_from,
      price.price_version,
      price.source_url AS price_source_url,
      price.currency AS price_currency,
      NULLIF(
        ARRAY_TO_STRING(
          [
            IF(q.input_tokens > price.long_context_above_tokens, 'long_context_not_visible', NULL),
            IF(
              q.written_12h > 0 AND price.cache_write_12h_per_million IS NULL,
              'cache_write_12h_at_common_rate',
              NULL
            ),
            -- The preview of the tool costs more with these models, and usage does not tell it.
            IF(
              q.endpoint = 'web_search_calls' AND REGEXP_CONTAINS(q.model, r'^gpt-4(o|\.1)'),
              'web_search_preview_not_visible',
              NULL
            )
          ],
          ','
        ),
        ''
      ) AS caveats,
      CASE
        WHEN
          q.unit IS NULL AND q.endpoint NOT IN ('completions', 'embeddings', 'moderations')
          THEN 'unknown_unit'
        WHEN q.sku IS NULL THEN 'model_unknown'
        WHEN q.priced_tier IS NULL THEN 'tier_unknown'
        WHEN q.unit IS NOT NULL AND q.units IS NULL THEN 'unit_count_missing'
        WHEN q.units < 0 THEN 'unit_count_negative'
        WHEN q.unit IS NULL AND q.input_tokens IS NULL THEN 'token_counts_missing'
        WHEN
          q.shape_version = 1 AND q.audio_in > 0 AND q.all_cached > 0
          THEN 'audio_split_unknown'
        WHEN
          LEAST(
            q.plain_in, q.plain_cached, q.written_30m, q.written_12h, q.plain_out,
            q.audio_in, q.cached_audio, q.audio_out, q.image_out
          ) < 0
          OR q.plain_in + q.audio_in + q.all_cached + q.written_30m + q.written_12h
            != q.input_tokens
          THEN 'token_counts_inconsistent'
        WHEN price.model_id IS NULL AND known.sku IS NULL THEN 'no_price'
        WHEN price.model_id IS NULL AND known.has_tier THEN 'no_price_on_day'
        WHEN price.model_id IS NULL THEN 'no_price_for_tier'
        WHEN q.unit IS NOT NULL AND price.unit_price IS NULL THEN 'no_rate_unit'
        WHEN q.unit IS NOT NULL AND price.unit != q.unit THEN 'unknown_unit'
        WHEN q.plain_in > 0 AND price.input_per_million IS NULL THEN 'no_rate_input'
        WHEN q.plain_cached > 0 AND price.cached_input_per_million IS NULL
          THEN 'no_rate_cached_input'
        WHEN
          q.written_30m > 0 AND price.cache_write_per_million IS NULL
          OR q.written_12h > 0
          AND COALESCE(price.cache_write_12h_per_million, price.cache_write_per_million) IS NULL
          THEN 'no_rate_cache_write'
        WHEN q.plain_out > 0 AND price.output_per_million IS NULL THEN 'no_rate_output'
        WHEN q.audio_in > 0 AND price.audio_input_per_million IS NULL THEN 'no_rate_audio_input'
        WHEN q.cached_audio > 0 AND price.cached_audio_input_per_million IS NULL
          THEN 'no_rate_cached_audio_input'
        WHEN q.audio_out > 0 AND price.audio_output_per_million IS NULL THEN 'no_rate_audio_output'
        WHEN q.image_out > 0 THEN 'no_rate_image_output'
      END AS unpriced_reason,
      -- A class without tokens needs no rate; one with tokens and no rate leaves no cost at all.
      IF(
        q.unit IS NOT NULL,
        q.units * price.unit_price,
        (
          IF(q.plain_in = 0, 0, q.plain_in * price.input_per_million)
          + IF(q.plain_cached = 0, 0, q.plain_cached * price.cached_input_per_million)
          + IF(q.written_30m = 0, 0, q.written_30m * price.cache_write_per_million)
          + IF(
            q.written_12h = 0,
            0,
            q.written_12h * COALESCE(price.cache_write_12h_per_million, price.cache_write_per_million)
          )
          + IF(q.plain_out = 0, 0, q.plain_out * price.output_per_million)
          + IF(q.audio_in = 0, 0, q.audio_in * price.audio_input_per_million)
          + IF(q.cached_audio = 0, 0, q.cached_audio * price.cached_audio_input_per_million)
          + IF(q.audio_out = 0, 0, q.audio_out * price.audio_output_per_million)
        ) * NUMERIC '0.000001'
      ) AS contracted_cost,
      IF(
        q.unit IS NOT NULL,
        q.units * public.unit_price,
        (
          IF(q.plain_in = 0, 0, q.plain_in * public.input_per_million)
          + IF(q.plain_cached = 0, 0, q.plain_cached * public.cached_input_per_million)
          + IF(q.written_30m = 0, 0, q.written_30m * public.cache_write_per_million)
          + IF(
            q.written_12h = 0,
            0,
            q.written_12h * COALESCE(public.cache_write_12h_per_million, public.cache_write_per_million)
          )
          + IF(q.plain_out = 0, 0, q.plain_out * public.output_per_million)
          + IF(q.audio_in = 0, 0, q.audio_in * public.audio_input_per_million)
          + IF(q.cached_audio = 0, 0, q.cached_audio * public.cached_audio_input_per_million)
          + IF(q.audio_out = 0, 0, q.audio_out * public.audio_output_per_million)
        ) * NUMERIC '0.000001'
      ) AS list_cost
    FROM quantities AS q
    LEFT JOIN contracted AS price
      ON price.sku = q.sku AND price.service_tier = q.priced_tier
    LEFT JOIN listed AS public
      ON
        public.sku = q.sku
        AND public.service_tier = q.priced_tier
        AND public.currency = price.currency
    LEFT JOIN known
      ON known.sku = q.sku AND known.priced_tier = q.priced_tier
  )
SELECT
  usage_date,
  endpoint,
  project_id,
  user_id,
  api_key_id,
  api_source,
  model,
  batch,
  service_tier,
  priced_tier,
  num_model_requests,
  plain_in AS input_tokens,
  plain_cached AS cached_input_tokens,
  written_30m AS cache_write_tokens,
  written_12h AS cache_write_12h_tokens,
  plain_out AS output_tokens,
  audio_in AS audio_input_tokens,
  cached_audio AS cached_audio_input_tokens,
  audio_out AS audio_output_tokens,
  image_out AS image_output_tokens,
  input_tokens + COALESCE(output_tokens, 0) AS total_tokens,
  units,
  unit,
  -- Where no public rate covers the usage, the org's own is the only list there is.
  IF(unpriced_reason IS NULL, COALESCE(list_cost, contracted_cost), NULL) AS list_cost,
  IF(unpriced_reason IS NULL, contracted_cost, NULL) AS contracted_cost,
  IF(unpriced_reason IS NULL, contracted_cost, NULL) AS billed_cost,
  IF(unpriced_reason IS NULL, contracted_cost, NULL) AS effective_cost,
  IF(unpriced_reason IS NULL, price_currency, NULL) AS currency,
  IF(unpriced_reason IS NULL, 'PRICED', 'UNPRICED') AS pricing_status,
  unpriced_reason,
  IF(unpriced_reason IS NULL, caveats, NULL) AS price_caveat,
  price_model_id,
  price_match,
  price_is_override,
  price_effective_from,
  price_version,
  price_source_url
FROM explained

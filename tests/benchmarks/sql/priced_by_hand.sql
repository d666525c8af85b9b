-- What price_usage.sql makes of a day, written by hand for DuckDB: the same rules, rows and columns.
WITH
  read AS (
    SELECT
      *,
      CASE
        WHEN endpoint = 'completions' AND batch IS NULL THEN NULL
        WHEN batch THEN 'batch'
        WHEN coalesce(service_tier, 'default') IN ('default', 'standard') THEN 'standard'
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
      coalesce(input_cached_tokens, 0) AS all_cached,
      coalesce(input_cache_write_12h_tokens, 0) AS written_12h,
      coalesce(
        input_cache_write_30m_tokens,
        input_tokens - input_uncached_tokens - coalesce(input_cached_tokens, 0)
          - coalesce(input_cache_write_12h_tokens, 0),
        input_cache_write_tokens,
        0
      ) AS written_30m,
      coalesce(input_cached_audio_tokens, 0) AS cached_audio,
      coalesce(input_audio_tokens, 0) AS audio_in,
      coalesce(output_audio_tokens, 0) AS audio_out,
      coalesce(output_image_tokens, 0) AS image_out
    FROM usage
    WHERE usage_date = DATE '2026-11-17'
  ),
  split AS (
    SELECT
      *,
      coalesce(input_uncached_tokens, input_tokens - all_cached - written_30m - written_12h)
        - audio_in AS plain_in,
      all_cached - cached_audio AS plain_cached,
      coalesce(output_tokens, 0) - audio_out - image_out AS plain_out
    FROM read
  ),
  names AS (
    SELECT sku, priced_tier, name, match, distance
    FROM (SELECT DISTINCT sku, priced_tier FROM split WHERE sku IS NOT NULL AND priced_tier IS NOT NULL),
      LATERAL (
        VALUES
          (sku, 'model', 1),
          (nullif(regexp_extract(sku, '^(ft:[^:]+):', 1), ''), 'fine_tune_base', 2),
          (nullif(regexp_extract(sku, '^([^:]+)-\d{4}-\d{2}-\d{2}$', 1), ''), 'snapshot_base', 3)
      ) AS told(name, match, distance)
  ),
  matches AS (
    SELECT names.*, prices.*
    FROM names
    JOIN prices ON prices.model_id = names.name AND prices.service_tier = names.priced_tier
    WHERE effective_from <= DATE '2026-11-17'
      AND (effective_to IS NULL OR effective_to > DATE '2026-11-17')
  ),
  contracted AS (
    SELECT *
    FROM matches
    QUALIFY row_number() OVER (
      PARTITION BY sku, priced_tier ORDER BY distance, is_override DESC, effective_from DESC
    ) = 1
  ),
  listed AS (
    SELECT *
    FROM matches
    WHERE NOT is_override
    QUALIFY row_number() OVER (
      PARTITION BY sku, priced_tier ORDER BY distance, effective_from DESC
    ) = 1
  ),
  known AS (
    SELECT names.sku, names.priced_tier, bool_or(prices.service_tier = names.priced_tier) AS has_tier
    FROM names
    JOIN prices ON prices.model_id = names.name
    GROUP BY ALL
  ),
  explained AS (
    SELECT
      q.*,
      p.match AS price_match, p.model_id AS price_model_id, p.is_override AS price_is_override,
      p.effective_from AS price_effective_from, p.price_version, p.source_url AS price_source_url,
      p.currency AS price_currency,
      nullif(
        concat_ws(
          ',',
          CASE WHEN q.input_tokens > p.long_context_above_tokens THEN 'long_context_not_visible' END,
          CASE
            WHEN q.written_12h > 0 AND p.cache_write_12h_per_million IS NULL
              THEN 'cache_write_12h_at_common_rate'
          END,
          CASE
            WHEN q.endpoint = 'web_search_calls' AND regexp_matches(q.model, '^gpt-4(o|\.1)')
              THEN 'web_search_preview_not_visible'
          END
        ),
        ''
      ) AS caveats,
      CASE
        WHEN q.unit IS NULL AND q.endpoint NOT IN ('completions', 'embeddings', 'moderations')
          THEN 'unknown_unit'
        WHEN q.sku IS NULL THEN 'model_unknown'
        WHEN q.priced_tier IS NULL THEN 'tier_unknown'
        WHEN q.unit IS NOT NULL AND q.units IS NULL THEN 'unit_count_missing'
        WHEN q.units < 0 THEN 'unit_count_negative'
        WHEN q.unit IS NULL AND q.input_tokens IS NULL THEN 'token_counts_missing'
        WHEN q.shape_version = 1 AND q.audio_in > 0 AND q.all_cached > 0 THEN 'audio_split_unknown'
        WHEN
          least(
            q.plain_in, q.plain_cached, q.written_30m, q.written_12h, q.plain_out, q.audio_in,
            q.cached_audio, q.audio_out, q.image_out
          ) < 0
          OR q.plain_in + q.audio_in + q.all_cached + q.written_30m + q.written_12h != q.input_tokens
          THEN 'token_counts_inconsistent'
        WHEN p.model_id IS NULL AND known.sku IS NULL THEN 'no_price'
        WHEN p.model_id IS NULL AND known.has_tier THEN 'no_price_on_day'
        WHEN p.model_id IS NULL THEN 'no_price_for_tier'
        WHEN q.unit IS NOT NULL AND p.unit_price IS NULL THEN 'no_rate_unit'
        WHEN q.unit IS NOT NULL AND p.unit != q.unit THEN 'unknown_unit'
        WHEN q.plain_in > 0 AND p.input_per_million IS NULL THEN 'no_rate_input'
        WHEN q.plain_cached > 0 AND p.cached_input_per_million IS NULL THEN 'no_rate_cached_input'
        WHEN
          q.written_30m > 0 AND p.cache_write_per_million IS NULL
          OR q.written_12h > 0
          AND coalesce(p.cache_write_12h_per_million, p.cache_write_per_million) IS NULL
          THEN 'no_rate_cache_write'
        WHEN q.plain_out > 0 AND p.output_per_million IS NULL THEN 'no_rate_output'
        WHEN q.audio_in > 0 AND p.audio_input_per_million IS NULL THEN 'no_rate_audio_input'
        WHEN q.cached_audio > 0 AND p.cached_audio_input_per_million IS NULL
          THEN 'no_rate_cached_audio_input'
        WHEN q.audio_out > 0 AND p.audio_output_per_million IS NULL THEN 'no_rate_audio_output'
        WHEN q.image_out > 0 THEN 'no_rate_image_output'
      END AS unpriced_reason,
      round(
        CASE
          WHEN q.unit IS NOT NULL THEN q.units * p.unit_price
          ELSE (
            CASE WHEN q.plain_in = 0 THEN 0 ELSE q.plain_in * p.input_per_million END
            + CASE WHEN q.plain_cached = 0 THEN 0 ELSE q.plain_cached * p.cached_input_per_million END
            + CASE WHEN q.written_30m = 0 THEN 0 ELSE q.written_30m * p.cache_write_per_million END
            + CASE WHEN q.written_12h = 0 THEN 0
                ELSE q.written_12h * coalesce(p.cache_write_12h_per_million, p.cache_write_per_million) END
            + CASE WHEN q.plain_out = 0 THEN 0 ELSE q.plain_out * p.output_per_million END
            + CASE WHEN q.audio_in = 0 THEN 0 ELSE q.audio_in * p.audio_input_per_million END
            + CASE WHEN q.cached_audio = 0 THEN 0
                ELSE q.cached_audio * p.cached_audio_input_per_million END
            + CASE WHEN q.audio_out = 0 THEN 0 ELSE q.audio_out * p.audio_output_per_million END
          )::DECIMAL(32, 9) * 0.000001::DECIMAL(6, 6)
        END,
        9
      )::DECIMAL(38, 9) AS contracted_cost,
      round(
        CASE
          WHEN q.unit IS NOT NULL THEN q.units * l.unit_price
          ELSE (
            CASE WHEN q.plain_in = 0 THEN 0 ELSE q.plain_in * l.input_per_million END
            + CASE WHEN q.plain_cached = 0 THEN 0 ELSE q.plain_cached * l.cached_input_per_million END
            + CASE WHEN q.written_30m = 0 THEN 0 ELSE q.written_30m * l.cache_write_per_million END
            + CASE WHEN q.written_12h = 0 THEN 0
                ELSE q.written_12h * coalesce(l.cache_write_12h_per_million, l.cache_write_per_million) END
            + CASE WHEN q.plain_out = 0 THEN 0 ELSE q.plain_out * l.output_per_million END
            + CASE WHEN q.audio_in = 0 THEN 0 ELSE q.audio_in * l.audio_input_per_million END
            + CASE WHEN q.cached_audio = 0 THEN 0
                ELSE q.cached_audio * l.cached_audio_input_per_million END
            + CASE WHEN q.audio_out = 0 THEN 0 ELSE q.audio_out * l.audio_output_per_million END
          )::DECIMAL(32, 9) * 0.000001::DECIMAL(6, 6)
        END,
        9
      )::DECIMAL(38, 9) AS list_cost
    FROM split AS q
    LEFT JOIN contracted AS p ON p.sku = q.sku AND p.priced_tier = q.priced_tier
    LEFT JOIN listed AS l
      ON l.sku = q.sku AND l.priced_tier = q.priced_tier AND l.currency = p.currency
    LEFT JOIN known ON known.sku = q.sku AND known.priced_tier = q.priced_tier
  )
SELECT
  usage_date, endpoint, project_id, user_id, api_key_id, api_source, model, batch, service_tier,
  priced_tier, num_model_requests, plain_in AS input_tokens, plain_cached AS cached_input_tokens,
  written_30m AS cache_write_tokens, written_12h AS cache_write_12h_tokens,
  plain_out AS output_tokens, audio_in AS audio_input_tokens,
  cached_audio AS cached_audio_input_tokens, audio_out AS audio_output_tokens,
  image_out AS image_output_tokens, input_tokens + coalesce(output_tokens, 0) AS total_tokens,
  units, unit,
  CASE WHEN unpriced_reason IS NULL THEN coalesce(list_cost, contracted_cost) END AS list_cost,
  CASE WHEN unpriced_reason IS NULL THEN contracted_cost END AS contracted_cost,
  CASE WHEN unpriced_reason IS NULL THEN contracted_cost END AS billed_cost,
  CASE WHEN unpriced_reason IS NULL THEN contracted_cost END AS effective_cost,
  CASE WHEN unpriced_reason IS NULL THEN price_currency END AS currency,
  CASE WHEN unpriced_reason IS NULL THEN 'PRICED' ELSE 'UNPRICED' END AS pricing_status,
  unpriced_reason,
  CASE WHEN unpriced_reason IS NULL THEN caveats END AS price_caveat,
  price_model_id, price_match, price_is_override, price_effective_from, price_version,
  price_source_url
FROM explained

{% extends "system/sql/prices/price_usage.sql" %}
-- One UTC day of openai_usage_daily_raw as quantities. The shared statement prices them; it says
-- which columns it needs.
--
-- Daily usage does not show the size of a context: base-tier rates apply, and a caveat says so.
-- Tools and audio endpoints are counted in units of their own; a unit has a price of its own.
{% block quantities %}
    WITH
      usage AS (
        SELECT
          *,
          -- Models and tiers are matched by name. OpenAI's pricing page lists one rate for fast and
          -- priority. Only completions tell batch from the rest; the others count as standard.
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
      split AS (
        SELECT
          *,
          -- Images in the input cost what text does; audio has rates of its own.
          COALESCE(input_uncached_tokens, input_tokens - all_cached - written_30m - written_12h)
            - audio_in AS plain_in,
          all_cached - cached_audio AS plain_cached,
          COALESCE(output_tokens, 0) - audio_out - image_out AS plain_out
        FROM usage
      )
    SELECT
      usage_date, endpoint, project_id, user_id, api_key_id, api_source, model, batch, service_tier,
      num_model_requests, sku, priced_tier, unit, units, unit AS required_unit,
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
      input_tokens AS prompt_tokens,
      CASE
        WHEN
          unit IS NULL AND endpoint NOT IN ('completions', 'embeddings', 'moderations')
          THEN 'unknown_unit'
        WHEN sku IS NULL THEN 'model_unknown'
        WHEN priced_tier IS NULL THEN 'tier_unknown'
        WHEN unit IS NOT NULL AND units IS NULL THEN 'unit_count_missing'
        WHEN units < 0 THEN 'unit_count_negative'
        WHEN unit IS NULL AND input_tokens IS NULL THEN 'token_counts_missing'
        WHEN shape_version = 1 AND audio_in > 0 AND all_cached > 0 THEN 'audio_split_unknown'
        WHEN
          LEAST(
            plain_in, plain_cached, written_30m, written_12h, plain_out,
            audio_in, cached_audio, audio_out, image_out
          ) < 0
          OR plain_in + audio_in + all_cached + written_30m + written_12h != input_tokens
          THEN 'token_counts_inconsistent'
      END AS usage_reason,
      -- The preview of the tool costs more with these models, and usage does not show it.
      IF(
        endpoint = 'web_search_calls' AND REGEXP_CONTAINS(model, r'^gpt-4(o|\.1)'),
        'web_search_preview_not_visible',
        NULL
      ) AS usage_caveat
    FROM split
{% endblock %}
{% block names %}
    UNION ALL
    SELECT *, REGEXP_EXTRACT(sku, r'^(ft:[^:]+):'), 'fine_tune_base', 2
    FROM skus
    UNION ALL
    SELECT *, REGEXP_EXTRACT(sku, r'^([^:]+)-\d{4}-\d{2}-\d{2}$'), 'snapshot_base', 3
    FROM skus
{% endblock %}

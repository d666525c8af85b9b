-- A day of OpenAI usage, as its raw table holds it: models with and without a date, tiers, batch,
-- caches, audio, tools, and some that no price names.
SELECT
  DATE '2026-11-17' AS usage_date,
  CASE WHEN n % 50 = 0 THEN 'web_search_calls' WHEN n % 10 = 0 THEN 'embeddings' ELSE 'completions' END
    AS endpoint,
  TIMESTAMPTZ '2026-11-17 00:00:00+00' AS bucket_start,
  TIMESTAMPTZ '2026-11-18 00:00:00+00' AS bucket_end,
  2::BIGINT AS shape_version,
  'proj_' || (n % 97) AS project_id,
  'user_' || (n % 1009) AS user_id,
  'key_' || n AS api_key_id,
  CASE
    WHEN n % 10 = 0 AND n % 50 != 0 THEN ['text-embedding-3-small', 'text-embedding-3-large'][1 + n % 2]
    ELSE ['gpt-4o-2024-08-06', 'gpt-4o-mini', 'gpt-5-2025-08-07', 'gpt-5-mini', 'o3', 'gpt-unheard-of'][1 + n % 6]
  END AS model,
  CASE WHEN n % 10 != 0 THEN n % 4 = 0 END AS batch,
  ['default', 'flex', 'priority'][1 + (n // 7) % 3] AS service_tier,
  3000 + n % 500 AS input_tokens,
  2000 + n % 500 AS input_uncached_tokens,
  1000::BIGINT AS input_cached_tokens,
  0::BIGINT AS input_cache_write_30m_tokens,
  0::BIGINT AS input_cache_write_12h_tokens,
  n % 700 AS output_tokens,
  CASE WHEN n % 50 = 0 THEN n % 30 END AS num_requests,
  n % 40 AS num_model_requests
FROM range(1, $rows + 1) AS numbers(n)

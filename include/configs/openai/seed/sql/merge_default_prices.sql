-- Bring an org's default prices up to the price book; what the org maintains itself stays.
-- A row is written only when something in it changed, so that a second load changes nothing.
MERGE `{{ project }}.{{ dataset }}.{{ pricing_table }}` AS kept
USING (SELECT * FROM UNNEST(@prices)) AS book
ON
  NOT kept.is_override
  AND kept.model_id = book.model_id
  AND kept.service_tier = book.service_tier
  AND kept.effective_from = book.effective_from
WHEN MATCHED AND (
  kept.currency IS DISTINCT FROM book.currency
  OR kept.input_per_million IS DISTINCT FROM book.input_per_million
  OR kept.cached_input_per_million IS DISTINCT FROM book.cached_input_per_million
  OR kept.cache_write_per_million IS DISTINCT FROM book.cache_write_per_million
  OR kept.cache_write_12h_per_million IS DISTINCT FROM book.cache_write_12h_per_million
  OR kept.output_per_million IS DISTINCT FROM book.output_per_million
  OR kept.audio_input_per_million IS DISTINCT FROM book.audio_input_per_million
  OR kept.cached_audio_input_per_million IS DISTINCT FROM book.cached_audio_input_per_million
  OR kept.audio_output_per_million IS DISTINCT FROM book.audio_output_per_million
  OR kept.long_context_above_tokens IS DISTINCT FROM book.long_context_above_tokens
  OR kept.effective_to IS DISTINCT FROM book.effective_to
  OR kept.effective_basis IS DISTINCT FROM book.effective_basis
  OR kept.price_version IS DISTINCT FROM book.price_version
  OR kept.source_url IS DISTINCT FROM book.source_url
  OR kept.source_date IS DISTINCT FROM book.source_date
  OR kept.notes IS DISTINCT FROM book.notes
) THEN
  UPDATE SET
    currency = book.currency,
    input_per_million = book.input_per_million,
    cached_input_per_million = book.cached_input_per_million,
    cache_write_per_million = book.cache_write_per_million,
    cache_write_12h_per_million = book.cache_write_12h_per_million,
    output_per_million = book.output_per_million,
    audio_input_per_million = book.audio_input_per_million,
    cached_audio_input_per_million = book.cached_audio_input_per_million,
    audio_output_per_million = book.audio_output_per_million,
    long_context_above_tokens = book.long_context_above_tokens,
    effective_to = book.effective_to,
    effective_basis = book.effective_basis,
    price_version = book.price_version,
    source_url = book.source_url,
    source_date = book.source_date,
    notes = book.notes,
    updated_at = @now
WHEN NOT MATCHED BY TARGET THEN
  INSERT (
    model_id, service_tier, effective_from, currency, input_per_million,
    cached_input_per_million, cache_write_per_million, cache_write_12h_per_million,
    output_per_million, audio_input_per_million, cached_audio_input_per_million,
    audio_output_per_million, long_context_above_tokens, effective_to, effective_basis,
    price_version, source_url, source_date, notes, is_override, updated_at
  )
  VALUES (
    book.model_id, book.service_tier, book.effective_from, book.currency, book.input_per_million,
    book.cached_input_per_million, book.cache_write_per_million,
    book.cache_write_12h_per_million, book.output_per_million, book.audio_input_per_million,
    book.cached_audio_input_per_million, book.audio_output_per_million,
    book.long_context_above_tokens, book.effective_to, book.effective_basis, book.price_version,
    book.source_url, book.source_date, book.notes, FALSE, @now
  )
WHEN NOT MATCHED BY SOURCE AND NOT kept.is_override THEN
  DELETE

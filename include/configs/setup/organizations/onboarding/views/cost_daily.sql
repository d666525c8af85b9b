-- The one face of cost: every provider's daily cost, never summed here, each row with its basis and
-- currency. Column names are FOCUS 1.2's, with two of 1.3 (ServiceProviderName, HostProviderName);
-- those beginning with x_ are ours. Finality and the publishing run are the ledger's to say.
{% set columns %}
  BilledCost, ContractedCost, EffectiveCost, ListCost, BillingCurrency, ChargePeriodStart,
  ChargePeriodEnd, BillingPeriodStart, BillingPeriodEnd, ChargeCategory, ChargeClass,
  ChargeDescription, ChargeFrequency, ConsumedQuantity, ConsumedUnit, PricingQuantity, PricingUnit,
  ServiceCategory, ServiceName, ProviderName, PublisherName, InvoiceIssuerName,
  ServiceProviderName, HostProviderName, SkuId, SkuMeter, SkuPriceId, SubAccountId, SubAccountName,
  SubAccountType, x_UsageDate, x_Provider, x_SourceTable, x_Basis, x_PricingStatus,
  x_UnpricedReason, x_PriceCaveat, x_PriceVersion, x_Model, x_ServiceTier, x_Requests
{% endset %}
-- A monthly table's slice is the month's first day.
{% set slice_day %}
  IF(
    ENDS_WITH(sources.x_SourceTable, '_monthly'),
    DATE_TRUNC(sources.x_UsageDate, MONTH),
    sources.x_UsageDate
  )
{% endset %}
WITH
  sources AS (
    {% for source in cost_sources %}
    SELECT {{ columns }} FROM `{{ project }}.{{ dataset }}.{{ source }}`
    {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
  ),
  slices AS (
    SELECT table_name, slice_day, action, run_id, finality, checked_at, attempt
    FROM `{{ project }}.{{ central }}.org_meta_slices`
    -- The table wants its partitions filtered; a slice may have been checked at any time.
    WHERE
      org_slug = '{{ org_slug }}' AND checked_at >= TIMESTAMP '2000-01-01'
      -- Rows in other states say how an attempt ended, and nothing of what is published.
      AND action IN ('PUBLISHED', 'UNCHANGED', 'RECOVERED')
  ),
  -- Newest as the ledger has it: attempts rise whatever the clocks of two workers say.
  checked AS (
    SELECT table_name, slice_day, finality
    FROM slices
    WHERE TRUE
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY table_name, slice_day
        ORDER BY attempt DESC, checked_at DESC
      ) = 1
  ),
  published AS (
    SELECT table_name, slice_day, run_id
    FROM slices
    WHERE action != 'UNCHANGED'
    QUALIFY
      ROW_NUMBER() OVER (
        PARTITION BY table_name, slice_day
        ORDER BY attempt DESC, checked_at DESC
      ) = 1
  )
SELECT
  '{{ org_slug }}' AS BillingAccountId,
  CAST(NULL AS STRING) AS BillingAccountName,
  sources.*,
  checked.finality AS x_Finality,
  published.run_id AS x_RunId
FROM sources
LEFT JOIN checked
  ON
    checked.table_name = sources.x_SourceTable
    AND checked.slice_day = {{ slice_day }}
LEFT JOIN published
  ON
    published.table_name = sources.x_SourceTable
    AND published.slice_day = {{ slice_day }}

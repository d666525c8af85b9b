-- One UTC day of a cost stream: the rows whose sum the invoice shows.
--
-- The file that extends this one gives, in its block `authoritative`, CTEs that end with
-- `authoritative`: the `columns` of a view of cost_daily_by_basis, then x_Attribution, x_Shown,
-- x_BillState and x_UsageState; and before them `day_state` with one row: bill_state.
--
-- Identifiers: `columns`, and `sides`, the views of the stream's bases. Parameters: @day, and the
-- constants of the stream and of the day's slices.
WITH
  {% block authoritative %}
  day_state AS (SELECT @bill_state AS bill_state),
  authoritative AS (
    SELECT
      {% for column in columns %}
      {{ column }},
      {% endfor %}
      CAST(NULL AS STRING) AS x_Attribution,
      x_Basis AS x_Shown,
      @bill_state AS x_BillState,
      @usage_state AS x_UsageState
    FROM `{{ project }}.{{ dataset }}.{{ sides[0].view }}`
    WHERE x_UsageDate = @day
  )
  {% endblock %},
  -- A published day without cost has one row, since a day without rows is a missing one.
  marker AS (
    SELECT
      NUMERIC '0' AS BilledCost,
      NUMERIC '0' AS ContractedCost,
      NUMERIC '0' AS EffectiveCost,
      NUMERIC '0' AS ListCost,
      'USD' AS BillingCurrency,
      TIMESTAMP(@day) AS ChargePeriodStart,
      TIMESTAMP(DATE_ADD(@day, INTERVAL 1 DAY)) AS ChargePeriodEnd,
      TIMESTAMP(DATE_TRUNC(@day, MONTH)) AS BillingPeriodStart,
      TIMESTAMP(DATE_ADD(DATE_TRUNC(@day, MONTH), INTERVAL 1 MONTH)) AS BillingPeriodEnd,
      'Usage' AS ChargeCategory,
      CAST(NULL AS STRING) AS ChargeClass,
      'No cost on this day' AS ChargeDescription,
      CAST(NULL AS STRING) AS ChargeFrequency,
      CAST(NULL AS NUMERIC) AS ConsumedQuantity,
      CAST(NULL AS STRING) AS ConsumedUnit,
      CAST(NULL AS NUMERIC) AS PricingQuantity,
      CAST(NULL AS STRING) AS PricingUnit,
      'Other' AS ServiceCategory,
      CAST(NULL AS STRING) AS ServiceName,
      CAST(NULL AS STRING) AS ProviderName,
      CAST(NULL AS STRING) AS PublisherName,
      CAST(NULL AS STRING) AS InvoiceIssuerName,
      CAST(NULL AS STRING) AS ServiceProviderName,
      CAST(NULL AS STRING) AS HostProviderName,
      CAST(NULL AS STRING) AS SkuId,
      CAST(NULL AS STRING) AS SkuMeter,
      CAST(NULL AS STRING) AS SkuPriceId,
      CAST(NULL AS STRING) AS SubAccountId,
      CAST(NULL AS STRING) AS SubAccountName,
      CAST(NULL AS STRING) AS SubAccountType,
      CAST(NULL AS STRING) AS ResourceId,
      CAST(NULL AS STRING) AS ResourceName,
      CAST(NULL AS STRING) AS ResourceType,
      CAST(NULL AS STRING) AS RegionId,
      CAST(NULL AS STRING) AS RegionName,
      CAST(NULL AS STRING) AS AvailabilityZone,
      CAST(NULL AS STRING) AS Tags,
      CAST(NULL AS STRING) AS InvoiceId,
      CAST(NULL AS STRING) AS CommitmentDiscountId,
      CAST(NULL AS STRING) AS CommitmentDiscountType,
      CAST(NULL AS STRING) AS CommitmentDiscountCategory,
      CAST(NULL AS STRING) AS CommitmentDiscountStatus,
      @day AS x_UsageDate,
      @provider AS x_Provider,
      CAST(NULL AS STRING) AS x_SourceTable,
      @only_basis AS x_Basis,
      'PRICED' AS x_PricingStatus,
      CAST(NULL AS STRING) AS x_UnpricedReason,
      CAST(NULL AS STRING) AS x_PriceCaveat,
      CAST(NULL AS STRING) AS x_PriceVersion,
      CAST(NULL AS STRING) AS x_Model,
      CAST(NULL AS STRING) AS x_ServiceTier,
      CAST(NULL AS STRING) AS x_ContextWindow,
      CAST(NULL AS INT64) AS x_Requests,
      CAST(NULL AS STRING) AS x_BillingAccountId,
      CAST(NULL AS STRING) AS x_ApiKeyId,
      CAST(NULL AS STRING) AS x_UserId,
      CAST(NULL AS STRING) AS x_ListCostSource,
      CAST(NULL AS STRING) AS x_Attribution,
      'zero' AS x_Shown,
      bill_state AS x_BillState,
      @usage_state AS x_UsageState
    FROM day_state
    WHERE NOT EXISTS (SELECT 1 FROM authoritative)
  ),
  complete AS (
    {% for part in ["authoritative", "marker"] %}
    SELECT
      {% for column in columns %}
      {{ column }},
      {% endfor %}
      x_Attribution, x_Shown, x_BillState, x_UsageState
    FROM {{ part }}
    {% if not loop.last %}
    UNION ALL
    {% endif %}
    {% endfor %}
  )
SELECT
  COALESCE(x_BillingAccountId, @org_slug) AS BillingAccountId,
  CAST(NULL AS STRING) AS BillingAccountName,
  {% for column in columns %}
  {{ column }},
  {% endfor %}
  x_Attribution,
  @stream AS x_CostStream,
  @money AS x_Money,
  x_Shown,
  x_BillState,
  x_UsageState,
  IF(x_Basis = 'billed', @billed_finality, @computed_finality) AS x_Finality,
  IF(x_Basis = 'billed', @billed_run_id, @computed_run_id) AS x_RunId,
  NULLIF(@billed_run_id, '') AS x_BillRunId,
  NULLIF(@computed_run_id, '') AS x_UsageRunId,
  @org_slug AS x_OrgSlug
FROM complete

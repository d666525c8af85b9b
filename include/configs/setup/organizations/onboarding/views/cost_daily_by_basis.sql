-- Cost of every source: the bill and the computed cost of the same usage are rows of their own, so
-- sum only within one x_CostStream, x_Basis and BillingCurrency. cost_daily has the rows to add up.
--
-- Identifiers: `columns`; `parts`, each with its view, provider, stream and kind of money.
{% for part in parts %}
SELECT
  '{{ org_slug }}' AS x_OrgSlug,
  '{{ part.provider }}/{{ part.stream }}' AS x_CostStream,
  '{{ part.money }}' AS x_Money,
  {% for column in columns %}
  {{ column }}{% if not loop.last %},{% endif %}

  {% endfor %}
FROM `{{ project }}.{{ dataset }}.{{ part.view }}`
{% if not loop.last %}
UNION ALL
{% endif %}
{% endfor %}

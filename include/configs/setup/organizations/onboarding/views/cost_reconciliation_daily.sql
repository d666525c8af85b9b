-- Computed against billed cost of each cost stream that has both, with the reasons of each difference.
-- UNNEST(reasons) has one row for each reason; docs/trust.md describes them.
{% for table in reconciliation_tables %}
SELECT
  {% for column in reconciliation_columns %}
  {{ column }}{% if not loop.last %},{% endif %}

  {% endfor %}
FROM `{{ project }}.{{ dataset }}.{{ table }}`
{% if not loop.last %}
UNION ALL
{% endif %}
{% endfor %}

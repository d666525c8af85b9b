-- The organization's cost: of each cost stream and day the authoritative rows, billed once the bill
-- covers the day, computed until then. A sum over BilledCost is what the invoices show. Column names
-- are FOCUS's; those beginning with x_ are ours. docs/trust.md explains them.
{% for table in stream_tables %}
SELECT
  {% for column in stream_columns %}
  {{ column }}{% if not loop.last %},{% endif %}

  {% endfor %}
FROM `{{ project }}.{{ dataset }}.{{ table }}`
{% if not loop.last %}
UNION ALL
{% endif %}
{% endfor %}

{% extends "system/sql/prices/cost_summary.sql" %}
-- The name of the summary in pipelines that were written before the vendors shared it.

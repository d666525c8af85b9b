{% extends "system/sql/streams/authoritative.sql" %}
-- A day of a stream with one basis: the rows of its view, as the shared statement selects them.

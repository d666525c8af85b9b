"""Extraction of any REST API by configuration."""

"""AWS: moto's S3 and STS behind a check of the caller, and customers' Data Exports."""

from __future__ import annotations

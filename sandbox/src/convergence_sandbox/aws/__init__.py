"""AWS: moto's S3 and STS behind a check of who asks, and customers' Data Exports."""

from __future__ import annotations

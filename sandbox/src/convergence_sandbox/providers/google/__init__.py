"""Google Cloud's stand-in: tokens for service accounts, Cloud Billing, and billing exports.

`accounts.service_account("acme_corp")` is the JSON key that the customer `acme_corp` would upload.
"""

from __future__ import annotations

from convergence_sandbox.providers.google.api import PROVIDER, show_account

__all__ = ["PROVIDER", "show_account"]

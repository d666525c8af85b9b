"""Jobs over REST: their routes, life, uploads and results."""

from __future__ import annotations

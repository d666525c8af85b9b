"""`deepseek.balance`: observe the account's balance once a day and infer the spend."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.deepseek.config import BalanceConfig


class Balance(OrgProcessor[BalanceConfig]):
    """Publish the balance, with top-ups and spend as separate columns."""

    Config = BalanceConfig

    def run_step(self, org: OrgContext, config: BalanceConfig) -> StepResult:
        """Return the rows, the table, and how many days were observed, kept or never observed.

        Raises:
            ProviderUnavailableError: DeepSeek does not respond.
            ProviderRejectedError: DeepSeek rejects the credential.
            ProviderProtocolError: a response breaks the documented shape.
        """
        from convergence.processors.deepseek.observation import observe_balance

        return observe_balance(org, config)

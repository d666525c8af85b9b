"""`deepseek.balance`: the account's balance once a day, and the spend that explains its change."""

from __future__ import annotations

from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.deepseek.config import BalanceConfig


class Balance(OrgProcessor[BalanceConfig]):
    """Observe the balance and publish it, with top-ups and spend told apart."""

    Config = BalanceConfig

    def run_step(self, org: OrgContext, config: BalanceConfig) -> StepResult:
        """Answer with rows, table, and how many days were observed, kept or never observed.

        Raises:
            ProviderUnavailableError: DeepSeek does not answer.
            ProviderRejectedError: DeepSeek refuses the credential.
            ProviderProtocolError: an answer breaks the documented shape.
        """
        from convergence.processors.deepseek.observation import observe

        return observe(org, config)

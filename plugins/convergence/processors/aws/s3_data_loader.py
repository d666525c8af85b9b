"""`aws.s3_data_loader`: the customer's Data Exports, period by period."""

from __future__ import annotations

from convergence.processors.aws.config import S3DataLoaderConfig
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult


class S3DataLoader(OrgProcessor[S3DataLoaderConfig]):
    """Publish the days of every billing period that is new or was rewritten."""

    Config = S3DataLoaderConfig

    def run_step(self, org: OrgContext, config: S3DataLoaderConfig) -> StepResult:
        """Load the export; return rows, table and the loaded, kept, vanished and postponed periods.

        Raises:
            RequestError: the org's configuration of the pipeline does not say where its export is.
            NotFoundError: there is no export at that place.
            ProviderUnavailableError: S3 does not answer, or a period is being rewritten.
            ProviderRejectedError: AWS refuses the credential, the bucket or the region.
            ProviderProtocolError: a file is truncated, damaged, or no such export; its period is
                not published, others are.
        """
        from convergence.processors.aws.loading import load_exports

        return load_exports(org, config)

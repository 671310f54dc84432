"""The CDK's standard test suite, against the sandbox; its advisory catalog checks count as errors.

pyproject.toml loads the suite's pytest plugin, leaves out what needs a container engine, and turns all warnings into
errors, ``DiscoveredCatalogWarning`` among them.
"""

from collections.abc import Iterator
from typing import ClassVar

import pytest
from airbyte_cdk.test.models import ConnectorTestScenario
from airbyte_cdk.test.standard_tests import SourceTestSuiteBase
from airbyte_cdk.test.standard_tests._job_runner import IConnector

from integration_tests.sandbox import Sandbox
from source_commonroom import SourceCommonroom


class TestSuite(SourceTestSuiteBase):
    """All standard tests of a source, with the scenarios of acceptance-test-config.yml."""

    sandbox: ClassVar[Sandbox]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        """Serve a sandbox to the scenarios, whose files name its usual address."""
        with Sandbox() as cls.sandbox:
            yield

    @classmethod
    def create_connector(cls, scenario: ConnectorTestScenario | None) -> IConnector:
        """Make the source of a scenario at the sandbox's address: it reads with what it is made with."""
        if scenario is None or scenario.config_path is None:
            return SourceCommonroom()
        config = scenario.get_config_dict(connector_root=cls.get_connector_root_dir(), empty_if_missing=False)
        return SourceCommonroom(config={**config, "api_url": cls.sandbox.api_url})

"""The CDK's standard test suite, against the sandbox; its advisory catalog checks count as errors.

pyproject.toml loads the suite's pytest plugin, leaves out what needs a container engine, and turns all warnings into
errors, ``DiscoveredCatalogWarning`` among them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from airbyte_cdk.test.models import ConnectorTestScenario
from airbyte_cdk.test.standard_tests import SourceTestSuiteBase
from airbyte_cdk.test.standard_tests._job_runner import IConnector

from integration_tests.sandbox import Sandbox
from source_commonroom import SourceCommonroom


class AtSandbox(SourceCommonroom):
    """The source, whose configurations are those of an API at a free port."""

    def __init__(self, api_url: str) -> None:
        super().__init__()
        self._api_url = api_url

    def configure(self, config: Mapping[str, Any], temp_dir: str) -> Mapping[str, Any]:
        # The sandbox limits nothing.
        return super().configure({"requests_per_second": 1000, **config, "api_url": self._api_url}, temp_dir)


class TestSuite(SourceTestSuiteBase):
    """All standard tests of a source, with the scenarios of acceptance-test-config.yml."""

    sandbox: ClassVar[Sandbox]

    # The scenarios that need an API; those at the root need none.
    acceptance_test_config: ClassVar[Any] = yaml.safe_load(Path(__file__).with_name("standard_tests.yml").read_text())

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def serve(cls) -> Iterator[None]:
        """Serve a sandbox to the scenarios, whose files name its usual address."""
        with Sandbox() as cls.sandbox:
            yield

    @classmethod
    def create_connector(cls, scenario: ConnectorTestScenario | None) -> IConnector:  # noqa: ARG003  # the CDK's signature
        """Make the source, which gets the scenario's configuration with each call, at the sandbox's address."""
        return AtSandbox(cls.sandbox.api_url)

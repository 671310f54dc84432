"""The source: the manifest, and what the CDK asks of Python."""

import ast
import logging
import pkgutil
import sys
from collections.abc import Mapping
from typing import Any

from airbyte_cdk.models import AirbyteConnectionStatus, AirbyteStateMessage, ConfiguredAirbyteCatalog
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource
from airbyte_cdk.utils.yaml_loader import safe_load_yaml

from source_commonroom import components
from source_commonroom.config import validate_config

# The manifest names its components as a manifest-only connector does; here they are a module of the package.
sys.modules.setdefault("source_declarative_manifest.components", components)


def load_manifest() -> dict[str, Any]:
    """Return ``manifest.yaml`` as it is written, references unresolved."""
    text = pkgutil.get_data(__package__, "manifest.yaml")
    assert text is not None, "a package without its manifest"  # noqa: S101  # for the type checker; the build includes it
    manifest: dict[str, Any] = safe_load_yaml(text)
    return manifest


class SourceCommonroom(ConcurrentDeclarativeSource):
    """A Common Room workspace as an Airbyte source, as ``manifest.yaml`` declares it.

    :param catalog: the configured catalog of a read; None for spec, check and discover
    :param config: the configuration, as spec describes it; None for spec
    :param state: the state of the last sync, one message a stream
    :raises AirbyteTracedException: (config_error) where the configuration isn't valid
    """

    def __init__(
        self,
        catalog: ConfiguredAirbyteCatalog | None = None,
        config: Mapping[str, Any] | None = None,
        state: list[AirbyteStateMessage] | None = None,
    ) -> None:
        manifest = load_manifest()
        # Here, and not where the CDK does it, because its constructor already works with the configuration.
        if config is not None:
            validate_config(config, manifest["spec"]["connection_specification"])
        super().__init__(catalog=catalog, config=config, state=state or [], source_config=manifest)

    def check(self, logger: logging.Logger, config: Mapping[str, Any]) -> AirbyteConnectionStatus:
        """Return SUCCEEDED where the token may read its own status, else FAILED with a sentence.

        The CDK's ``CheckStream`` answers with the ``repr`` of "Stream … is not available: …"; a person in Airbyte's UI
        gets the sentence alone.
        """
        status = super().check(logger, config)
        if status.message:
            message: str = ast.literal_eval(status.message)
            status.message = message.removeprefix("Stream api_token_status is not available: ")
        return status

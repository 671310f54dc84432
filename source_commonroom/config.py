"""What a configuration may hold, said in sentences.

The rules stand in the spec (``manifest.yaml``) as JSON schema, so that Airbyte's form, PyAirbyte and
``source-declarative-manifest`` know them too. Here are the sentences, because the CDK's own quote the value: of a token
with a typo in its type, or of a user and password in an address, nothing may be printed.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from jsonschema import Draft7Validator, ValidationError

_ADVICE = {
    "api_token": "Enter the token that Common Room shows under Settings | API tokens.",
    "start_date": "Enter a moment in UTC, such as 2024-01-01T00:00:00Z, or leave it empty for the whole history.",
    "end_date": "Enter a moment in UTC, such as 2025-01-01T00:00:00Z, or leave it empty to read up to now.",
    "lookback_window_days": "Enter a whole number of days from 0 to 365.",
    "custom_field_columns": "Choose label, id or none.",
    "segment_ids": "List ids of segments, such as s_12, each once.",
    "pii": "Choose keep, hash or drop.",
    "pii_salt": "Enter any long random text.",
    "num_workers": "Enter a whole number from 2 to 40.",
    "requests_per_second": "Enter a number from 1 to 1000.",
    "walk_from_both_ends": "Enter true or false.",
    "api_url": "Use https (http only for the loopback addresses), without a user or password, and without the version.",
}


def validate_config(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Refuse a configuration that the spec doesn't allow, or whose dates make no sense.

    :param config: the configuration as it was entered
    :param schema: ``connectionSpecification`` of the spec
    :raises AirbyteTracedException: (config_error) with a sentence for each mistake, and no value of the configuration
    """
    mistakes = [_sentence(error) for error in Draft7Validator(schema).iter_errors(config)]
    mistakes += _mistakes_of_header(config)
    if config.get("pii") == "hash" and not config.get("pii_salt"):
        mistakes.append(f"pii is hash, and pii_salt is missing. {_ADVICE['pii_salt']}")
    if not mistakes:
        mistakes += _mistakes_of_dates(config)
    if mistakes:
        message = "The configuration isn't valid. " + " ".join(dict.fromkeys(mistakes))
        raise AirbyteTracedException(
            message=message, internal_message=message, failure_type=FailureType.config_error
        ) from None


def _sentence(error: ValidationError) -> str:
    if error.validator == "required":
        return f"api_token is missing. {_ADVICE['api_token']}"
    if not error.absolute_path:
        return "It must be a JSON object."
    name = str(error.absolute_path[0])
    return f"{name} isn't what it should be. {_ADVICE.get(name, '')}".strip()


def _mistakes_of_header(config: Mapping[str, Any]) -> Iterator[str]:
    token = config.get("api_token")
    # Anything else can't travel in an HTTP header; requests would put the token into its exception.
    if isinstance(token, str) and not all("!" <= character <= "~" for character in token.strip()):
        yield "api_token holds a character that no token has, such as a blank or a line break. " + _ADVICE["api_token"]


def _mistakes_of_dates(config: Mapping[str, Any]) -> Iterator[str]:
    moments: dict[str, datetime] = {}
    for name in ("start_date", "end_date"):
        if name in config:
            try:
                moments[name] = datetime.fromisoformat(config[name])
            except ValueError:
                yield f"{name} names a day or an hour that doesn't exist. {_ADVICE[name]}"
    if {"start_date", "end_date"} == set(moments) and moments["start_date"] > moments["end_date"]:
        yield "start_date lies after end_date, so that there is nothing to read. Swap them, or empty one."

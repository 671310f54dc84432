"""What a configuration may hold, said in sentences.

The rules stand in the spec (``manifest.yaml``) as JSON schema, so that Airbyte's form, PyAirbyte and
``source-declarative-manifest`` know them too. Here are the sentences, because the CDK's own quote the value: of a token
with a typo in its type, or of a user and password in an address, nothing may be printed.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from airbyte_cdk.models import FailureType
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from jsonschema import Draft7Validator, ValidationError

_ADVICE = {
    "api_token": "Enter the token that Common Room shows under Settings | API tokens.",
    "start_date": "Enter a time in UTC, such as 2024-01-01T00:00:00Z, or leave it empty for the whole history.",
    "end_date": "Enter a time in UTC, such as 2025-01-01T00:00:00Z, or leave it empty to read up to now.",
    "lookback_window_days": "Enter a whole number of days from 0 to 365.",
    "audit_history": "Enter true or false.",
    "custom_field_columns": "Choose label, id or none.",
    "segment_ids": "List ids of segments, such as s_12, each once.",
    "pii": 'Enter {"mode": "keep"}, {"mode": "hash", "salt": "…"} or {"mode": "drop"}.',
    "pii.mode": "Choose keep, hash or drop.",
    "pii.salt": "Enter any long random text, of 8 characters at least.",
    "num_workers": "Enter a whole number from 2 to 40.",
    "requests_per_second": "Enter a number from 1 to 1000.",
    "walk_from_both_ends": "Enter true or false.",
    "api_url": "Use https (http only for the loopback addresses), without a user or password, and without the version.",
}

# By the rule of JSON schema that is broken; what follows the name of the property.
_MISTAKES = {
    "enum": "is none of its choices",
    "minimum": "is too small",
    "maximum": "is too large",
    "uniqueItems": "names something twice",
}
_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
# A name of labels, or IPv6 without its brackets. A name that ends in a number is IPv4; ``ipaddress`` reads both.
_NAME = re.compile(r"(?=.{1,253}$)((?!-)[A-Za-z0-9-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9-]{1,63}(?<!-)\.?")
_IP = re.compile(r".*:.*|(.*\.)?[0-9]+\.?")
_NO_HOST = "names no host, or one that can't be"
_NO_CHARACTER = "holds a character that no address has"
_NO_PORT = "names a port that can't be; ports go from 1 to 65535"
# A surrogate: JSON can name it alone, and no encoding can write it.
_HALF = re.compile(r"[\ud800-\udfff]")
_VERSION = re.compile(r"/v[0-9]+(/|$)")
# What people write in the place of ``pii`` and of what stands in it.
_LIKE_PII = re.compile(r"\s*(pii[\w. -]{0,30}|mode|salt)\s*", re.IGNORECASE)
# Python writes the years before it with fewer digits, so that they couldn't be parsed again.
_FIRST_YEAR = 1000

Pii: TypeAlias = Literal["keep", "hash", "drop"]


@dataclass(frozen=True)
class PersonalData:
    """What becomes of personal data: the option ``pii``.

    :param salt: the key of the hashes; empty unless the mode is ``hash``
    """

    mode: Pii
    salt: str = field(repr=False)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "PersonalData":
        """Return what a valid configuration says; without the option, all is kept."""
        option = config.get("pii") or {"mode": "keep"}
        return cls(option["mode"], option["salt"] if option["mode"] == "hash" else "")

    @property
    def is_kept(self) -> bool:
        """Tell whether personal data stays as it is."""
        return self.mode == "keep"


def without_empty(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the optional properties that are null or empty.

    Terraform and forms send them for what was left out. The token, which is required, stays as it is.

    :param schema: ``connectionSpecification`` of the spec
    :raises AirbyteTracedException: (config_error) if it is no JSON object
    """
    if not isinstance(config, Mapping):
        raise _invalid(["It must be a JSON object."])
    optional = set(schema["properties"]) - set(schema["required"])
    return {name: value for name, value in config.items() if name not in optional or not _is_empty(value)}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def validate_config(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Refuse a configuration that the spec doesn't allow, or whose dates make no sense.

    :param config: the configuration as it was entered
    :param schema: ``connectionSpecification`` of the spec
    :raises AirbyteTracedException: (config_error) with a sentence for each mistake, and no value of the configuration
    """
    mistakes = [sentence for error in Draft7Validator(schema).iter_errors(config) for sentence in _sentences(error)]
    mistakes += _mistakes_of_numbers(config)
    mistakes += _mistakes_of_token(config.get("api_token"))
    mistakes += _mistakes_of_address(config.get("api_url"))
    mistakes += _mistakes_beside_pii(config)
    mistakes += _mistakes_of_salt(config)
    if not mistakes:
        mistakes += _mistakes_of_dates(config)
    if mistakes:
        raise _invalid(mistakes)


def _invalid(mistakes: Iterable[str]) -> AirbyteTracedException:
    message = "The configuration isn't valid. " + " ".join(dict.fromkeys(mistakes))
    return AirbyteTracedException(message=message, internal_message=message, failure_type=FailureType.config_error)


def _sentences(error: ValidationError) -> Iterator[str]:
    path = [part for part in error.absolute_path if isinstance(part, str)]
    if error.validator == "oneOf":
        yield from _sentences_of_alternative(error)
        return
    if error.validator == "required":
        required, given = _of(error)
        path.append(next(name for name in required if name not in given))
        mistake = "is missing"
    else:
        mistake = _mistake(error, path[0])
    name = ".".join(path)
    yield f"{name} {mistake}. {_ADVICE.get(name, '')}".strip()


def _sentences_of_alternative(error: ValidationError) -> Iterator[str]:
    """Say what is wrong with the alternative that a value names by its ``mode``: the others don't matter then."""
    alternatives, given = _of(error)
    if not isinstance(given, Mapping):
        # Its type is wrong, which is a mistake of its own.
        return
    modes = [alternative["properties"]["mode"]["const"] for alternative in alternatives]
    name = f"{error.absolute_path[0]}.mode"
    if "mode" not in given:
        yield f"{name} is missing. {_ADVICE[name]}"
    elif given["mode"] not in modes:
        yield f"{name} is none of its choices. {_ADVICE[name]}"
    else:
        chosen = modes.index(given["mode"])
        for cause in error.context or ():
            if cause.relative_schema_path[0] == chosen:
                yield from _sentences(cause)


def _of(error: ValidationError) -> tuple[Any, Any]:
    """Return what a rule asks for, and what there is; jsonschema's types admit that either is unset."""
    return error.validator_value, error.instance


def _mistake(error: ValidationError, name: str) -> str:
    """Say what is wrong with a property, without its value."""
    what = "holds something that" if isinstance(error.absolute_path[-1], int) else ""
    if error.validator == "type":
        return f"{what} isn't {_TYPES.get(str(error.validator_value), 'what it should be')}".strip()
    if error.validator == "minLength":
        return "is empty" if not error.instance else f"is shorter than {error.validator_value} characters"
    if error.validator == "pattern":
        if name == "api_url":
            return _why_unsafe(str(error.instance)) or _NO_CHARACTER
        return f"{what} is no id of a segment" if name == "segment_ids" else "isn't a time of the form asked for"
    return _MISTAKES.get(str(error.validator), "isn't what it should be")


def _mistakes_of_numbers(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        # Python's JSON knows NaN, which is neither below a minimum nor above a maximum.
        if name in _ADVICE and isinstance(value, float) and math.isnan(value):
            yield f"{name} isn't a number. {_ADVICE[name]}"


def _why_unsafe(address: str) -> str | None:
    """Say what is wrong with an address, whether or not the spec's pattern lets it pass; None if nothing is."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return _NO_HOST
    rules = (
        (not address, "is empty"),
        (parts.scheme not in {"http", "https"}, "isn't an https address"),
        ("@" in parts.netloc, "holds a user or a password"),
        (not _can_be_a_host(host), _NO_HOST),
        (not _can_be_a_port(parts), _NO_PORT),
        (parts.scheme == "http" and not _LOOPBACK.fullmatch(host), "would send the token unencrypted, by http"),
        (parts.query or parts.fragment, "holds a query or a fragment"),
        # The one character that the spec's pattern lets pass behind its end.
        (address.endswith("\n"), _NO_CHARACTER),
    )
    return next((why for broken, why in rules if broken), None)


def _can_be_a_host(host: str) -> bool:
    if not _IP.fullmatch(host):
        return bool(_NAME.fullmatch(host))
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _can_be_a_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _mistakes_of_address(address: Any) -> Iterator[str]:
    if not isinstance(address, str):
        return
    if why := _why_unsafe(address):
        yield f"api_url {why}. {_ADVICE['api_url']}"
    if _VERSION.search(address):
        yield f"api_url holds a version of the API. {_ADVICE['api_url']}"


def _mistakes_beside_pii(config: Mapping[str, Any]) -> Iterator[str]:
    """Refuse what looks like ``pii``: ignored as other unknown properties are, it would keep what is to be hashed."""
    for name, value in config.items():
        if name == "pii" or not _LIKE_PII.fullmatch(str(name)) or _is_empty(value):
            continue
        plain = name.strip().lower()
        is_it = "its name is pii" if plain == "pii" else f"the {'salt' if 'salt' in plain else 'mode'} stands in pii"
        yield f"{name.strip()} isn't an option; {is_it}. {_ADVICE['pii']}"


def _mistakes_of_salt(config: Mapping[str, Any]) -> Iterator[str]:
    pii = config.get("pii")
    salt = pii.get("salt") if isinstance(pii, Mapping) and pii.get("mode") == "hash" else None
    if not isinstance(salt, str):
        return
    if salt and not salt.strip():
        yield f"pii.salt is blank. {_ADVICE['pii.salt']}"
    elif salt != salt.strip():
        # One source that has it, and another that doesn't, would have hashes that don't join, without a word.
        yield f"pii.salt begins or ends with a blank or a line break, which would count. {_ADVICE['pii.salt']}"
    if _HALF.search(salt):
        yield f"pii.salt holds half of a character, as a cut emoji leaves it. {_ADVICE['pii.salt']}"


def _mistakes_of_token(token: Any) -> Iterator[str]:
    if not isinstance(token, str):
        return
    if token and not token.strip():
        yield f"api_token is blank. {_ADVICE['api_token']}"
    # Anything else can't travel in an HTTP header; requests would put the token into its exception.
    if not all("!" <= character <= "~" for character in token.strip()):
        yield "api_token holds a character that no token has, such as a blank or a line break. " + _ADVICE["api_token"]


def _mistakes_of_dates(config: Mapping[str, Any]) -> Iterator[str]:
    dates: dict[str, datetime] = {}
    for name in ("start_date", "end_date"):
        if name in config:
            try:
                dates[name] = datetime.fromisoformat(config[name])
            except ValueError:
                yield f"{name} names a day or an hour that doesn't exist. {_ADVICE[name]}"
    for name, date in dates.items():
        if date.year < _FIRST_YEAR:
            yield f"{name} lies before the year {_FIRST_YEAR}. {_ADVICE[name]}"
    if {"start_date", "end_date"} == set(dates) and dates["start_date"] > dates["end_date"]:
        yield "start_date lies after end_date, so that there is nothing to read. Swap them, or empty one."

"""Retries: how often, and how long to wait in between."""

import logging
import random
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn

import requests
from airbyte_cdk.models import FailureType, StreamDescriptor
from airbyte_cdk.sources.declarative.interpolation import InterpolatedString
from airbyte_cdk.sources.declarative.requesters.http_requester import HttpRequester
from airbyte_cdk.sources.declarative.requesters.request_options import InterpolatedRequestOptionsProvider
from airbyte_cdk.sources.streams.http import HttpClient
from airbyte_cdk.sources.streams.http.exceptions import BaseBackoffException, UserDefinedBackoffException
from airbyte_cdk.sources.types import StreamSlice
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_commonroom.components.rate_limit import budget_of

logger = logging.getLogger("airbyte")

# The waits before the second try to the sixth are 1, 2, 4, 8 and 16 s, each ± 25 % so that the workers that one outage
# stopped don't come back in one instant.
_JITTER = 0.25


class PatientHttpClient(HttpClient):
    """An ``HttpClient`` that tells a rate limit from a failure, waits no longer than it says, and ends with a sentence.

    :param max_rate_limit_waits: how often in a row one request may be told to wait before the stream fails
    """

    def __init__(self, *args: Any, max_rate_limit_waits: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_rate_limit_waits = max_rate_limit_waits

    def _send_with_retry(
        self,
        request: requests.PreparedRequest,
        request_kwargs: Mapping[str, Any],
        log_formatter: Callable[[requests.Response], Any] | None = None,
        exit_on_rate_limit: bool | None = False,  # noqa: FBT001, FBT002  # the CDK's signature
    ) -> requests.Response:
        failures = 0
        rate_limits = 0
        while True:
            try:
                return self._send(request, request_kwargs, log_formatter, exit_on_rate_limit)
            except BaseBackoffException as error:
                if error.response is not None and error.response.status_code == requests.codes.too_many_requests:
                    rate_limits += 1
                    tries, allowed = rate_limits, self._max_rate_limit_waits
                else:
                    failures += 1
                    tries, allowed = failures, self._max_retries
                if tries > allowed or self._disable_retries:
                    self._give_up(request, error, tries)
                wait = error.backoff if isinstance(error, UserDefinedBackoffException) else _exponential(tries)
                logger.info("%s Try %d of %d follows in %.1f s.", error, tries + 1, allowed + 1, wait)
                time.sleep(wait)

    def _give_up(self, request: requests.PreparedRequest, error: BaseBackoffException, tries: int) -> NoReturn:
        self._evict_key(request)
        raise AirbyteTracedException(
            message=f"{error} ({tries} tries.)",
            internal_message=f"{type(error).__name__} after {tries} tries",
            failure_type=error.failure_type or FailureType.transient_error,
            stream_descriptor=StreamDescriptor(name=self.name),
        )


def _exponential(tries: int) -> float:
    return float(2 ** (tries - 1) * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311  # no secret hangs on it


@dataclass
class PatientRequester(HttpRequester):
    """An ``HttpRequester`` whose client is a :class:`PatientHttpClient` with the one budget of its token.

    Why not YAML: the CDK counts 429s and failures against the same few retries, sleeps a second longer than any
    strategy says, logs each of its waits as "Rate limit exceeded", has no jitter, and ends with "Exhausted available
    request attempts. Please see logs" where a person needs to know what to do.
    Before: a refused connection failed after 67 s. After: after 31 s, with its reason.
    Pinned by the tests of unit_tests/test_retries.py.

    :param request_parameters: the query, interpolated; what is empty then is not sent
    :param request_headers: headers besides the authenticator's, interpolated
    :param requests_per_second: what all streams of the token may spend together, interpolated
    :param max_rate_limit_waits: see :class:`PatientHttpClient`
    """

    request_parameters: Mapping[str, Any] | None = None
    request_headers: Mapping[str, Any] | None = None
    requests_per_second: str = "20"
    max_rate_limit_waits: int = 60

    def __post_init__(self, parameters: Mapping[str, Any]) -> None:
        self.request_options_provider = InterpolatedRequestOptionsProvider(
            config=self.config,
            parameters=parameters,
            request_parameters=dict(self.request_parameters or {}),
            request_headers=dict(self.request_headers or {}),
        )
        super().__post_init__(parameters)
        self._fixed: tuple[str, Mapping[str, Any], Mapping[str, Any]] | None = None
        self._path_varies = "stream_slice" in str(self.url)
        self._http_client = PatientHttpClient(
            name=self.name,
            logger=self.logger,
            error_handler=self.error_handler,
            api_budget=budget_of(str(self._authenticator.get_auth_header()), self._rate(parameters)),
            authenticator=self._authenticator,
            backoff_strategy=getattr(self.error_handler, "backoff_strategies", None),
            disable_retries=self.disable_retries,
            message_repository=self.message_repository,
            request_timeout=(self.connect_timeout_in_seconds, self.read_timeout_in_seconds),
            use_tcp_keepalive=self.use_tcp_keepalive,
            max_rate_limit_waits=self.max_rate_limit_waits,
        )

    def get(self, params: Mapping[str, Any], stream_slice: StreamSlice | None = None) -> requests.Response:
        """Return the answer to a GET with ``params`` besides the fixed ones, retried as it takes.

        Unlike ``send_request`` it interpolates address, headers and fixed parameters once, and not for each page: they
        are the same for all pages of a stream, but for an address that names its slice; and interpolation costs as much
        as some twenty records.
        """
        if self._fixed is None:
            self._fixed = (
                self.get_url(stream_slice=stream_slice),
                self.get_request_headers(),
                self.get_request_params(),
            )
        url, headers, fixed = self._fixed
        if self._path_varies:
            url = self.get_url(stream_slice=stream_slice)
        _, response = self._http_client.send_request(
            http_method="GET", url=url, request_kwargs={}, headers=headers, params={**fixed, **params}
        )
        return response

    def _rate(self, parameters: Mapping[str, Any]) -> float:
        return float(InterpolatedString.create(self.requests_per_second, parameters=parameters).eval(self.config))

    def get_request_params(self, **kwargs: Any) -> MutableMapping[str, Any]:
        """Return the query of a request, less what is empty: YAML can only leave a value out, not a parameter."""
        return {name: value for name, value in super().get_request_params(**kwargs).items() if value != ""}

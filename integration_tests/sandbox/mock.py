"""The mount under requests-mock: the emulator in the process of the test, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from requests_mock import create_response

from integration_tests.sandbox.messages import Answer, Call, Delivery

if TYPE_CHECKING:
    from requests_mock import Mocker
    from requests_mock.request import _RequestObjectProxy

    from integration_tests.sandbox.api import Api


def mount(mocker: Mocker, api: Api, api_url: str) -> None:
    """Let `api` answer what is sent to below `api_url`, as `https://api.commonroom.io/community`.

    Nothing is waited for: a fault that would hang raises the time-out at once.
    """

    def respond(request: _RequestObjectProxy) -> requests.Response | None:
        url = str(request.url)
        if not url.startswith(f"{api_url}/"):
            return None
        parts = urlsplit(url)
        call = Call(
            method=str(request.method),
            path=parts.path.removeprefix(urlsplit(api_url).path),
            query=parts.query,
            authorization=request.headers.get("Authorization"),
        )
        with api.log.in_flight():
            answer = api.answer(call)
        _fail_as_requests_would(answer)
        headers = (
            answer.headers if answer.status == 204 else {"Content-Length": str(len(answer.body)), **answer.headers}
        )
        return create_response(request, status_code=answer.status, content=answer.body, headers=headers)

    mocker.add_matcher(respond)


def _fail_as_requests_would(answer: Answer) -> None:
    """Raise what requests raises when it reads such an answer from a socket."""
    if answer.delay or answer.delivery in {Delivery.TRICKLED, Delivery.TRICKLED_HEAD}:
        raise requests.ReadTimeout("the sandbox hangs")
    if answer.delivery is Delivery.NOTHING:
        raise requests.ConnectionError("the sandbox closed the connection without an answer")
    if answer.delivery is Delivery.HALF_BODY:
        raise requests.exceptions.ChunkedEncodingError("the sandbox closed the connection in the middle of the body")

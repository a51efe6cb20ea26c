"""The HTTP API as commands use it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import httpx
import msgspec
from typing_extensions import override

from sealwax.cli import output
from sealwax.config import Settings, load
from sealwax.config.environment import warnings_of
from sealwax.errors import ConfigurationError, SealwaxError


class RefusedError(SealwaxError):
    """The API refused a request; the text is what it says, one line for each problem.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.status = status

    @override
    def __str__(self) -> str:
        return str(self.args[0])


class Client:
    """A connection to the API, with the operator's key or the one in SEALWAX_API_KEY."""

    def __init__(self, settings: Settings | None = None) -> None:
        """Reads the settings.

        Raises:
            ConfigurationError: There is no key.
        """
        self._settings = settings or load()
        for warning in warnings_of(self._settings):
            output.complain(warning)
        key = self._settings.api_key
        if key is None:
            raise ConfigurationError(
                f"there is no API key: set SEALWAX_API_KEY, or run `sealwax up`, which writes "
                f"{self._settings.operator_key_file}"
            )
        self._http = httpx.Client(
            base_url=self._settings.http.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=self._settings.client_timeout.total_seconds(),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON.

        Raises:
            RefusedError: The API refused.
            ConfigurationError: Nothing answers there.
        """
        return self._answer(self._http.build_request("GET", path, params=params))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON; raises what `get` does."""
        return self._answer(
            self._http.build_request(
                "POST",
                path,
                content=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            )
        )

    def _answer(self, request: httpx.Request) -> Any:  # noqa: ANN401 - JSON
        try:
            response = self._http.send(request)
        except httpx.ConnectError as error:
            raise ConfigurationError(
                f"nothing answers at {self._settings.http.url}: start the platform by "
                "`sealwax up`, or set SEALWAX_HTTP to where it is"
            ) from error
        except httpx.HTTPError as error:
            raise ConfigurationError(
                f"no answer from {self._settings.http.url}: {str(error) or type(error).__name__}"
            ) from error
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise RefusedError(_sentences(response), response.status_code)
        return response.json()


def _sentences(response: httpx.Response) -> str:
    """A problem (RFC 9457) as text."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return f"the API answered {response.status_code} {response.reason_phrase}"
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        return "\n".join(_sentence(e) for e in errors if isinstance(e, dict))
    return _sentence(problem) or f"the API answered {response.status_code}"


def _sentence(problem: dict[str, Any]) -> str:
    said = [str(problem[k]).rstrip(".") for k in ("detail", "fix") if problem.get(k)]
    if not problem.get("detail"):
        said.insert(0, str(problem.get("title", "")))
    where = f"{problem['field']}: " if problem.get("field") else ""
    return where + ". ".join(part for part in said if part)

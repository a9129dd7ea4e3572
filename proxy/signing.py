"""Requests signed for AWS: Signature Version 4 for the service `bedrock`, by botocore.

botocore and its chain of credentials (environment, profiles, single sign-on, roles of containers
and instances) may read files and ask the network, so `ready` does that in a thread. `sign` is
arithmetic over what `ready` has found.
"""

import asyncio
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from adapters.base import Auth, Failure, FailureKind, Outgoing, Retry, Target, UpstreamFailure

SERVICE = "bedrock"
PAUSE = 30.0  # seconds after a look-up for credentials before the next one


class Credentials(NamedTuple):
    """What botocore's signer reads: a key of AWS, with a token when it is a passing one."""

    access_key: str
    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class _Botocore:
    """The pieces of botocore that are used; it is an optional dependency, without types."""

    auth: Any
    request: Any
    session: Any
    errors: tuple[type[Exception], ...]


@cache
def _botocore() -> _Botocore:
    """Raises `UpstreamFailure` where it is not installed. Takes a tenth of a second, once."""
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.session import Session
    except ImportError:
        message = "signing for AWS needs botocore: pip install 'turnout[bedrock]'"
        raise UpstreamFailure(_unsigned(message)) from None
    # RuntimeError: what a refresh gives back may have run out already. The rest: odd files.
    errors = (BotoCoreError, ClientError, RuntimeError, OSError, ValueError)
    return _Botocore(SigV4Auth, AWSRequest, Session, errors)


class Signer:
    """Signs what goes to targets of `auth` sigv4. One a process, in one event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._source: Any = None  # botocore's own value, which refreshes itself
        self._credentials: Credentials | None = None
        self._looked_up = float("-inf")  # by the monotonic clock
        self._problem = "none were found in the environment, a profile or a role"

    async def ready(self, target: Target | None = None) -> None:
        """To be awaited before `sign`: loads what a target (None: any) is signed with.

        Does nothing where that is loaded and fresh. What runs out is refreshed when botocore
        thinks it time, a quarter of an hour ahead. Raises `UpstreamFailure` without botocore.
        """
        if target is not None and target.auth is not Auth.SIGV4:
            return
        if target is not None and target.api_key is not None:
            if not _botocore.cache_info().currsize:
                await asyncio.to_thread(_botocore)
            return
        if self._is_fresh():
            return
        async with self._lock:
            if not self._is_fresh():
                await asyncio.to_thread(self._look_up)

    def sign(self, outgoing: Outgoing, target: Target) -> Outgoing:
        """The request with its signature. Raises `UpstreamFailure` when it can't be signed."""
        if target.region is None:
            raise UpstreamFailure(
                _unsigned(f"provider {target.provider} has no region to sign for")
            )
        credentials = self._credentials if target.api_key is None else _own(target)
        if credentials is None:
            message = f"no AWS credentials for provider {target.provider}: {self._problem}"
            raise UpstreamFailure(_unsigned(message))
        aws = _botocore()
        request = aws.request(
            method="POST", url=outgoing.url, headers=outgoing.headers, data=outgoing.body
        )
        aws.auth(credentials, SERVICE, target.region).add_auth(request)
        return outgoing._replace(headers=dict(request.headers.items()))

    def _is_fresh(self) -> bool:
        if time.monotonic() - self._looked_up < PAUSE:
            return True
        return self._credentials is not None and not _runs_out(self._source)

    def _look_up(self) -> None:
        """In a thread: may take seconds. Credentials that can't be refreshed are kept."""
        aws = _botocore()
        try:
            if self._source is None:
                self._source = aws.session().get_credentials()
            if self._source is not None:
                found = self._source.get_frozen_credentials()
                self._credentials = Credentials(found.access_key, found.secret_key, found.token)
        except aws.errors as error:
            self._problem = type(error).__name__  # its words may hold what a file says
        finally:
            self._looked_up = time.monotonic()


def _runs_out(source: Any) -> bool:
    """Whether botocore would refresh now; keys that last have no such question."""
    refresh_needed = getattr(source, "refresh_needed", None)
    return refresh_needed is not None and bool(refresh_needed())


def _own(target: Target) -> Credentials:
    """A target's own key, `ACCESS:SECRET` or `ACCESS:SECRET:TOKEN`."""
    assert target.api_key is not None
    access, _, rest = target.api_key.get_secret_value().partition(":")
    secret, _, token = rest.partition(":")
    if not access or not secret:
        message = f"the api_key of provider {target.provider} must be ACCESS:SECRET[:TOKEN]"
        raise UpstreamFailure(_unsigned(message))
    return Credentials(access, secret, token or None)


def _unsigned(message: str) -> Failure:
    return Failure(FailureKind.AUTH, message, Retry.NEXT_TARGET)

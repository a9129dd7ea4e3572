"""The one owner of the HTTP client.

aiohttp and not httpx: forwarding a request cost 0.37 ms of CPU with it against 7 ms, a streamed
chunk 45 µs against 310 (one core, 32 connections; `benchmarks/` measures the first again).
Redirects are never followed, cookies never kept, the environment's proxies never used.
"""

import asyncio
import errno
import socket
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp.connector import AddrInfoType
from aiohttp.connector import SocketFactoryType as SocketFactory
from yarl import URL

from adapters.base import Auth, Failure, FailureKind, Outgoing, Retry, Target, UpstreamFailure
from adapters.failures import interrupted, invalid_reply
from proxy.addresses import AddressNotAllowed, is_public
from proxy.signing import Signer

REPLY_LIMIT = 64 * 1024 * 1024  # bytes of a whole answer, after decompression
ERROR_LIMIT = 1024 * 1024  # bytes of an error body that are read
KEEP_ALIVE = 30.0  # seconds that an idle connection is kept
HEADER_LIMIT = 64 * 1024  # bytes of one response header


BROKEN = (aiohttp.ClientError, OSError, EOFError)
"""What reading from a connection that broke raises."""


def broken(error: Exception) -> Failure:
    """A connection that broke in the middle of an answer."""
    return interrupted(f"the upstream's answer was cut short: {_broken(error)}")


class Exchange:
    """An answer under way: its status and headers are there, its body is not.

    `read_some` gives what has arrived of the body, `b""` at its end; it raises one of `BROKEN`
    when the connection breaks, which `broken` puts into words.
    """

    __slots__ = ("_response", "headers", "read_some", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.read_some = response.content.readany
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_event_stream(self) -> bool:
        """False when the content type says outright that the body is something else."""
        kind = self.headers.get("content-type", "")
        return not kind.startswith(("text/html", "application/json", "text/plain"))

    async def read(self, limit: int = REPLY_LIMIT) -> bytes:
        """The whole body. Raises `UpstreamFailure` when it is cut short or over `limit`."""
        pieces: list[bytes] = []
        size = 0
        try:
            while piece := await self.read_some():
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    raise UpstreamFailure(invalid_reply(f"the answer is over {limit} bytes"))
        except BROKEN as error:
            raise UpstreamFailure(broken(error)) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Gives the connection back if the body was read to its end, else closes it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def drain(self, seconds: float) -> None:
        """Reads an answer that is over for us to its end, so that its connection can be kept."""
        try:
            async with asyncio.timeout(seconds):
                while await self.read_some():
                    pass
        except (aiohttp.ClientError, OSError, EOFError):  # a timeout is an OSError too
            return  # `close` then closes it


class Fetched(NamedTuple):
    """A whole answer: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unreachable(Exception):
    """No answer of a place that is no provider; why, in words."""


def _session(socket_factory: SocketFactory | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=KEEP_ALIVE, socket_factory=socket_factory
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"user-agent": "turnout", "accept-encoding": "identity"},
        max_field_size=HEADER_LIMIT,
        max_line_size=HEADER_LIMIT,
        requote_redirect_url=False,
    )


def _public_socket(info: AddrInfoType) -> socket.socket:
    """A socket for an address that is public. It is asked here, when the address is at hand that
    will be connected to: a name may have led elsewhere a moment ago."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise AddressNotAllowed("its address is not public")
    return socket.socket(family=family, type=kind, proto=protocol)


class Upstream:
    """Sends what an adapter has built. `open` and `close` it inside the running loop."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._session: aiohttp.ClientSession | None = None
        self._public: aiohttp.ClientSession | None = None
        self._urls: dict[str, URL] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    def open(self) -> None:
        self._session = _session(None)
        self._public = _session(_public_socket)

    async def send(
        self, outgoing: Outgoing, target: Target, trace: Mapping[str, str] | None = None
    ) -> Exchange:
        """Returns when status and headers are there. `trace` are headers that are never signed:
        whoever passes them on may change them.

        Raises `UpstreamFailure` of kind `upstream_unreachable` when there is no answer.
        """
        session = self._public if target.public_only else self._session
        assert session is not None, "the upstream client is not open"
        if target.auth is Auth.SIGV4:
            await self._signer.ready(target)
            outgoing = self._signer.sign(outgoing, target)
        if trace is not None:
            outgoing = outgoing._replace(headers={**outgoing.headers, **trace})
        try:
            response = await session.request(
                outgoing.method,
                self._url(outgoing.url),
                data=outgoing.body,
                headers=outgoing.headers,
                allow_redirects=False,
                timeout=self._timeout(target.timeouts.connect),
            )
        except aiohttp.ClientResponseError:
            message = f"provider {target.provider} did not answer in HTTP"
            raise UpstreamFailure(invalid_reply(message)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailure(_unreachable(target, error)) from None
        return Exchange(response)

    async def fetch(self, outgoing: Outgoing, patience: float, limit: int = ERROR_LIMIT) -> Fetched:
        """A whole exchange with a place that is no provider: a webhook, a backend service, an
        issuer of tokens. All of it may take `patience` seconds, its answer be `limit` bytes.

        Raises `Unreachable`, in words without the URL.
        """
        assert self._session is not None, "the upstream client is not open"
        try:
            async with self._session.request(
                outgoing.method,
                URL(outgoing.url, encoded=True),
                data=outgoing.body or None,
                headers=outgoing.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=patience),
            ) as response:
                body = await Exchange(response).read(limit)
                return Fetched(response.status, dict(response.headers), body)
        except UpstreamFailure as error:
            raise Unreachable(error.failure.message) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(_broken(error)) from None

    async def close(self) -> None:
        for session in (self._session, self._public):
            if session is not None:
                await session.close()

    def _url(self, text: str) -> URL:
        """Parsed once: the URLs come from the configuration, so there are few."""
        url = self._urls.get(text)
        if url is None:
            if len(self._urls) > 1000:
                self._urls.clear()
            url = self._urls[text] = URL(text, encoded=True)
        return url

    def _timeout(self, connect: float) -> aiohttp.ClientTimeout:
        if connect not in self._timeouts:
            self._timeouts[connect] = aiohttp.ClientTimeout(sock_connect=connect)
        return self._timeouts[connect]


def _unreachable(target: Target, error: Exception) -> Failure:
    # A host of digits that are no address, `2130706433`, aiohttp itself refuses to look up.
    is_refused = isinstance(getattr(error, "os_error", None), AddressNotAllowed)
    if is_refused or (target.public_only and isinstance(error, aiohttp.InvalidURL)):
        message = f"provider {target.provider} may be at a public address only, and is not"
        return Failure(FailureKind.URL_NOT_ALLOWED, message, Retry.NEXT_TARGET)
    message = f"provider {target.provider} could not be reached: {_broken(error)}"
    return Failure(FailureKind.UNREACHABLE, message, Retry.SAME_TARGET)


def _broken(error: Exception) -> str:
    """What went wrong with a connection, in words without its URL or headers."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its host name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return "TLS failed"
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return "connecting took too long"
        case OSError(errno=int(number)) if number in errno.errorcode:
            return _WORDS.get(number, errno.errorcode[number])
        case _:
            return "the connection closed"


_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "connecting took too long",
}

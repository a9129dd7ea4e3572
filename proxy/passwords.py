"""Passwords of users: hashed, verified, and guesses at them counted.

Argon2id takes 64 MB and a tenth of a second on purpose, so it runs in threads, few at a time. What
is not an account takes as long as what is one.
"""

import asyncio
import base64
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from proxy.counters import Counters, Kind, Want
from proxy.errors import LimitExceeded, Overloaded, Unprocessable
from proxy.ids import uuid7

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AT_ONCE = 2  # hashes under way
WAITING = 64  # that may wait for them; more would wait for longer than anybody does
SHORTEST, LONGEST = 8, 1024  # characters
MINUTE, HOUR = 60.0, 3600.0

_COMMONEST = """
00000000 0123456789 11111111 111111111 1111111111 112233445566 12121212 123123123 12341234
1234567890 12345678 123456789 12345678910 1234qwer 123qweasd 147258369 1q2w3e4r 1q2w3e4r5t
1qaz2wsx 22222222 55555555 66666666 77777777 87654321 88888888 987654321 9876543210 99999999
aa123456 aaaaaaaa abc12345 abcd1234 abcdefgh admin123 administrator adminadmin asdasdasd
asdf1234 asdfghjk asdfghjkl baseball basketball changeit changeme changeme1 charlie1 computer
corvette cowboys1 dragon123 einstein football football1 google123 iloveyou iloveyou1 internet
jennifer letmein1 letmein123 liverpool loveyou1 master123 maverick michael1 michelle monkey123
mustang1 nothing1 p@ssw0rd p@ssword passw0rd password password! password1 password12
password123 password1234 pokemon1 princess princess1 q1w2e3r4 q1w2e3r4t5 qazwsxedc qwer1234
qwerty12 qwerty123 qwerty1234 qwertyui qwertyuiop samantha secret123 starwars sunshine
sunshine1 superman superman1 test1234 testtest trustno1 turnout1 turnout123 welcome1 welcome123
whatever whatever1 zaq12wsx zxcvbnm1 zxcvbnm123
"""
COMMONEST = frozenset(_COMMONEST.split())
"""What is tried first by who guesses; of those that are long enough."""

T = TypeVar("T")


class Cost(NamedTuple):
    """What Argon2id takes: KiB of memory, passes over it, threads."""

    memory: int = 64 * 1024
    passes: int = 3
    threads: int = 4


class Checked(NamedTuple):
    """Whether a password was right; `renewed` is its hash of today's cost, where it had another."""

    is_right: bool
    renewed: str | None = None


class Passwords:
    """Hashes of one cost. `close` it when the process ends."""

    def __init__(self, cost: Cost | None = None) -> None:
        cost = cost or Cost()
        hasher = Argon2Hasher(
            time_cost=cost.passes, memory_cost=cost.memory, parallelism=cost.threads
        )
        self._hash = PasswordHash((hasher,))
        self._nobodys = _nobodys(cost)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._under_way = 0

    async def hash(self, password: str) -> str:
        """A new hash, with a salt of its own. Raises `Overloaded`."""
        return await self._run(lambda: self._hash.hash(normal(password)))

    async def verify(self, password: str, stored: str | None) -> Checked:
        """Whether it is the password of a hash. None, for an account that is not there or has no
        password, takes as long and is wrong. Raises `Overloaded`."""

        def work() -> Checked:
            try:
                right, renewed = self._hash.verify_and_update(
                    normal(password), stored or self._nobodys
                )
            except UnknownHashError:  # no hash of ours: nobody knows its password
                return Checked(False)
            return Checked(right and stored is not None, renewed)

        return await self._run(work)

    def close(self) -> None:
        """Waits for nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        """In a thread. One whose caller has left goes on, and keeps its place until it ends."""
        if self._under_way >= AT_ONCE + WAITING:
            message = "too many passwords are being checked; try again"
            raise Overloaded(message, headers={"retry-after": "2"})
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # looked at: its caller may have left


def normal(password: str) -> str:
    """One spelling of what keyboards write in several."""
    return unicodedata.normalize("NFC", password)


def _nobodys(cost: Cost) -> str:
    """A hash that no password has, which takes as long to find out as any of that cost."""
    salt, digest = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory},t={cost.passes},p={cost.threads}${salt}${digest}"


def check_new(password: str, email: str, param: str = "password") -> None:
    """Raises `Unprocessable` for a password that may not be one; it is not repeated."""
    text = normal(password)
    fault = None
    if not SHORTEST <= len(text) <= LONGEST:
        fault = f"must have {SHORTEST} to {LONGEST} characters"
    elif len(set(text)) == 1 or text.casefold() in COMMONEST:
        fault = "is one of the commonest passwords; choose another"
    elif text.strip().casefold() == email.strip().casefold():
        fault = "must not be the email"
    if fault:
        raise Unprocessable(f"{param!r} {fault}", param=param, code="weak_password")


class Attempts:
    """Guesses at passwords, counted where limits are. Only wrong ones count in the end, but each
    has its place while it is being checked: many at once have no more of them."""

    def __init__(self, counters: Callable[[], Counters]) -> None:
        self._counters = counters

    @asynccontextmanager
    async def one(self, email: str, address: str) -> "AsyncIterator[Attempt]":
        """One guess at the password of `email` by who is at `address`, an IP address.

        Raises `LimitExceeded`. It was wrong unless `attempt.is_right` was set.
        """
        wants = _wants(email, _place(address))
        holder, counters = uuid7(), self._counters()
        grant = await counters.reserve(holder, wants)
        if grant.blocked is not None:
            pairs = zip(grant.remaining, grant.resets, wants, strict=True)
            waits = [reset for left, reset, want in pairs if left < want.amount]
            wait = max(1, int(max(waits, default=0.0) + 0.999))
            message = f"too many attempts to log in; try again in {wait} seconds"
            raise LimitExceeded(message, headers={"retry-after": str(wait)})
        attempt = Attempt()
        try:
            yield attempt
        finally:
            used = 0 if attempt.is_right else 1
            await counters.settle(holder, wants, [used] * len(wants))


class Attempt:
    """A guess that is being checked."""

    is_right = False


def _wants(email: str, place: str) -> list[Want]:
    who = sha256(email.strip().casefold().encode()).hexdigest()[:32]
    return [
        Want(f"login:{who}:{place}:minute", Kind.SLIDING, 5, 1, MINUTE),
        Want(f"login:{who}:{place}:hour", Kind.SLIDING, 50, 1, HOUR),
        Want(f"login:at:{place}", Kind.SLIDING, 30, 1, MINUTE),
        Want(f"login:of:{who}", Kind.SLIDING, 100, 1, HOUR),
    ]


def _place(address: str) -> str:
    """The network that one client has: of IPv6 that is a /64."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "nowhere"
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return str(IPv6Network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)

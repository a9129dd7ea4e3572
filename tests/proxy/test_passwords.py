"""Passwords: real Argon2id at a low cost; and the counting of guesses."""

import asyncio
from collections.abc import Iterator

import pytest

from proxy.counters_local import LocalCounters
from proxy.errors import LimitExceeded, Overloaded, Unprocessable
from proxy.passwords import AT_ONCE, WAITING, Attempts, Cost, Passwords, check_new

CHEAP = Cost(memory=64, passes=1, threads=1)
KNOWN = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$"


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(CHEAP)
    yield made
    made.close()


async def test_what_was_hashed_is_known_again(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse battery")
    assert hashed.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert "correct" not in hashed
    assert hashed != await passwords.hash("correct horse battery")
    assert await passwords.verify("correct horse battery", hashed) == (True, None)
    assert await passwords.verify("correct horse batterY", hashed) == (False, None)


async def test_the_usual_cost() -> None:
    made = Passwords()
    try:
        assert (await made.hash("x")).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    finally:
        made.close()


async def test_one_spelling_of_an_umlaut(passwords: Passwords) -> None:
    assert (await passwords.verify("gru\u0308n", await passwords.hash("gr\u00fcn"))).is_right


async def test_a_hash_of_another_cost_is_renewed(passwords: Passwords) -> None:
    before = Passwords(Cost(memory=32, passes=2, threads=1))
    old = await before.hash("correct horse")
    before.close()
    checked = await passwords.verify("correct horse", old)
    assert checked.is_right
    assert checked.renewed is not None
    assert checked.renewed.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert (await passwords.verify("wrong", old)).renewed is None


@pytest.mark.parametrize("stored", ["", "x", "$2b$12$abcdefghijklmnopqrstuv", KNOWN, KNOWN + "eA"])
async def test_what_is_no_hash_is_nobodys(passwords: Passwords, stored: str) -> None:
    assert not (await passwords.verify("x", stored)).is_right


async def test_an_account_that_is_not_there_takes_a_real_hash(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = passwords._hash.verify_and_update

    def seen(password: str, stored: str) -> tuple[bool, str | None]:
        asked.append(stored)
        return real(password, stored)

    monkeypatch.setattr(passwords._hash, "verify_and_update", seen)
    assert not (await passwords.verify("x", None)).is_right
    assert len(asked) == 1
    # Argon2 itself takes it for a hash of this cost: 16 bytes of salt, 32 of digest.
    assert asked[0].startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert [len(part) for part in asked[0].split("$")[4:]] == [22, 43]
    assert not passwords._hash.current_hasher._hasher.check_needs_rehash(asked[0])  # type: ignore[attr-defined]


async def test_only_so_many_wait(passwords: Passwords) -> None:
    hashed = await passwords.hash("x")
    many = [
        asyncio.ensure_future(passwords.verify("x", hashed)) for _ in range(AT_ONCE + WAITING + 5)
    ]
    came = await asyncio.gather(*many, return_exceptions=True)
    assert sum(isinstance(one, Overloaded) for one in came) == 5
    assert (await passwords.verify("x", hashed)).is_right  # there is room again


@pytest.mark.parametrize(
    "password",
    [
        "",
        "1234567",
        "x" * 1025,
        "12345678",
        "PASSWORD",
        "aaaaaaaaaaaa",
        "ann@corp.test",
        "ANN@corp.test ",
    ],
)
def test_what_may_not_be_one(password: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        check_new(password, "Ann@corp.test")
    assert (caught.value.param, caught.value.code) == ("password", "weak_password")
    assert not password or f"'{password}'" not in caught.value.message.removeprefix("'password'")


@pytest.mark.parametrize(
    "password", ["12345679", "x" * 1023 + "y", "пароль-пароль", "correct horse"]
)
def test_what_may(password: str) -> None:
    check_new(password, "ann@corp.test")


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class TestAttempts:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def attempts(self, clock: Clock) -> Attempts:
        counters = LocalCounters(clock)
        return Attempts(lambda: counters)

    async def guess(
        self, attempts: Attempts, email: str, address: str = "192.0.2.1", right: bool = False
    ) -> bool:
        """Whether it was let in."""
        try:
            async with attempts.one(email, address) as attempt:
                attempt.is_right = right
        except LimitExceeded:
            return False
        return True

    async def test_five_wrong_ones_a_minute(self, attempts: Attempts, clock: Clock) -> None:
        assert [await self.guess(attempts, "a@x") for _ in range(6)] == [True] * 5 + [False]
        assert not await self.guess(attempts, " A@X ")
        assert await self.guess(attempts, "b@x")
        assert await self.guess(attempts, "a@x", "192.0.2.2")
        clock.now += 121
        assert await self.guess(attempts, "a@x")

    async def test_who_is_refused_hears_for_how_long(self, attempts: Attempts) -> None:
        for _ in range(5):
            await self.guess(attempts, "a@x")
        with pytest.raises(LimitExceeded) as caught:
            async with attempts.one("a@x", "192.0.2.1"):
                pass
        assert 1 <= int(caught.value.headers["retry-after"]) <= 120
        assert "a@x" not in caught.value.message

    async def test_right_ones_do_not_count(self, attempts: Attempts) -> None:
        assert all([await self.guess(attempts, "a@x", right=True) for _ in range(200)])

    async def test_what_fails_counts(self, attempts: Attempts) -> None:
        for _ in range(5):
            with pytest.raises(RuntimeError):
                async with attempts.one("a@x", "192.0.2.1"):
                    raise RuntimeError
        assert not await self.guess(attempts, "a@x")

    async def test_many_at_once_have_no_more(self, attempts: Attempts) -> None:
        go = asyncio.Event()

        async def slow() -> bool:
            try:
                async with attempts.one("a@x", "192.0.2.1") as attempt:
                    await go.wait()
                    attempt.is_right = False
            except LimitExceeded:
                return False
            return True

        waiting = [asyncio.ensure_future(slow()) for _ in range(20)]
        await asyncio.sleep(0)
        go.set()
        assert sum(await asyncio.gather(*waiting)) == 5

    async def test_fifty_an_hour(self, attempts: Attempts, clock: Clock) -> None:
        clock.now = 3600.0 * 300  # where an hour begins
        let_in = 0
        for _ in range(25):
            let_in += sum([await self.guess(attempts, "a@x") for _ in range(5)])
            clock.now += 120
        assert let_in == 50

    async def test_thirty_a_minute_from_one_place(self, attempts: Attempts) -> None:
        came = [await self.guess(attempts, f"{n}@x") for n in range(31)]
        assert came == [True] * 30 + [False]
        assert not await self.guess(attempts, "new@x", "::ffff:192.0.2.1")
        assert await self.guess(attempts, "new@x", "192.0.2.9")

    async def test_a_network_of_ipv6_is_one_place(self, attempts: Attempts) -> None:
        places = [f"2001:db8:0:1::{n:x}" for n in range(30)]
        assert all([await self.guess(attempts, f"{n}@x", at) for n, at in enumerate(places)])
        assert not await self.guess(attempts, "new@x", "2001:db8:0:1:ffff::1")
        assert await self.guess(attempts, "new@x", "2001:db8:0:2::1")

    async def test_a_hundred_an_hour_for_one_email(self, attempts: Attempts) -> None:
        came = [await self.guess(attempts, "a@x", f"198.51.100.{n}") for n in range(101)]
        assert came == [True] * 100 + [False]

    async def test_an_address_that_is_none(self, attempts: Attempts) -> None:
        assert await self.guess(attempts, "a@x", "")
        assert await self.guess(attempts, "a@x", "testclient")

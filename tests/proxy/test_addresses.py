"""Which addresses are the world's. The oracle compares octets and groups; it knows no networks."""

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.addresses import check_url, host_of, is_public, not_allowed
from proxy.errors import InvalidRequest

PRIVATE = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200"),
    *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
    *("192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
)
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "168.63.129.15", "169.253.1.1", "172.15.255.255"),
    *("172.32.0.0", "192.0.1.1", "192.167.1.1", "198.17.1.1", "198.20.0.0", "223.255.255.255"),
)


def public_4(packed: bytes) -> bool:
    a, b, c, d = packed
    if a in (0, 10, 127) or a >= 224:
        return False
    if a == 100:
        return not 64 <= b <= 127
    if a == 168:
        return (b, c, d) != (63, 129, 16)
    if a == 169:
        return b != 254
    if a == 172:
        return not 16 <= b <= 31
    if a == 192:
        return (b, c) not in ((0, 0), (0, 2), (88, 99)) and b != 168
    if a == 198:
        return b not in (18, 19) and (b, c) != (51, 100)
    return (a, b, c) != (203, 0, 113)


def public_6(packed: bytes) -> bool:
    if packed[:12] == bytes(10) + b"\xff\xff" or packed[:12] == b"\x00\x64\xff\x9b" + bytes(8):
        return public_4(packed[12:])
    first, second = packed[0] << 8 | packed[1], packed[2] << 8 | packed[3]
    if not 0x2000 <= first <= 0x3FFF or first == 0x2002:
        return False
    if first == 0x2001:
        return second > 0x01FF and second != 0x0DB8
    return not (first == 0x3FFF and second <= 0x0FFF)


def within(packed: bytes) -> list[str]:
    """The IPv6 addresses that an IPv4 address hides in."""
    a, b = packed[:2].hex(), packed[2:].hex()
    turned = bytes(255 - octet for octet in packed)
    return [
        f"::ffff:{a}:{b}",
        f"::ffff:{IPv4Address(packed)}",
        f"::{a}:{b}",
        f"64:ff9b::{a}:{b}",
        f"64:ff9b:1::{a}:{b}",
        f"2002:{a}:{b}::1",
        f"2001:0:{a}:{b}::1",
        f"2001:0:5ef5:79fd:0:0:{turned[:2].hex()}:{turned[2:].hex()}",
    ]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_private_is_so_in_every_dress(text: str) -> None:
    assert not is_public(text)
    packed = socket.inet_pton(socket.AF_INET, text)
    assert [dress for dress in within(packed) if is_public(dress)] == []


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public(text: str) -> None:
    packed = socket.inet_pton(socket.AF_INET, text)
    a, b = packed[:2].hex(), packed[2:].hex()
    public = [text, f"::ffff:{a}:{b}", f"64:ff9b::{a}:{b}"]
    assert [is_public(each) for each in public] == [True, True, True]


@pytest.mark.parametrize(
    "text",
    [
        *("::", "::1", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fec0::1", "fc00::1"),
        *("fd00:ec2::254", "fd20:ce::254", "ff02::1", "ff0e::1", "100::1", "2001::1", "2001:2::1"),
        *("2001:10::1", "2001:20::1", "2001:db8::1", "2002::1", "3fff::1", "3fff:fff::1"),
        *("4000::1", "5f00::1", "1fff:ffff::1"),
    ],
)
def test_special_purposes(text: str) -> None:
    assert not is_public(text)


def test_the_worlds_own() -> None:
    for text in (
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2a00::1",
        "3fff:1000::",
    ):
        assert is_public(text), text


@given(st.binary(min_size=4, max_size=4))
def test_any_address_of_four_bytes(packed: bytes) -> None:
    text = socket.inet_ntop(socket.AF_INET, packed)
    assert is_public(text) is public_4(packed)
    if not public_4(packed):
        assert not any(map(is_public, within(packed)))


HEADS = [
    *(
        bytes(10) + b"\xff\xff",
        bytes(12),
        b"\x00\x64\xff\x9b" + bytes(8),
        b"\x00\x64\xff\x9b\x00\x01",
    ),
    *(b"\x20\x01", b"\x20\x01\x0d\xb8", b"\x20\x01\x01", b"\x20\x02", b"\x3f\xff", b"\x3f\xff\x0f"),
    *(b"\xfc", b"\xfe\x80", b"\xff", b"\x20", b"\x2a", b""),
]


@given(st.sampled_from(HEADS), st.binary(min_size=16, max_size=16))
def test_any_address_of_sixteen_bytes(head: bytes, tail: bytes) -> None:
    packed = (head + tail)[:16]
    assert is_public(socket.inet_ntop(socket.AF_INET6, packed)) is public_6(packed)
    assert is_public(IPv6Address(packed).exploded) is public_6(packed)


@given(st.text(max_size=20))
def test_what_is_no_address_is_not_public(text: str) -> None:
    if is_public(text):
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        packed = socket.inet_pton(family, text)
        assert public_6(packed) if ":" in text else public_4(packed)


ODD = (
    *("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001"),
    *(
        "0177.0.0.1",
        "0",
        "0x0",
        "00",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.1..",
        "1.1",
        "8.8.8.8.8",
    ),
    *("08.8.8.8", "example.0x7f", "example.1", "256.1.1.1", "4294967296"),
)


@pytest.mark.parametrize("host", ODD)
def test_odd_ways_to_write_an_address(host: str) -> None:
    refused(f"http://{host}/v1")
    refused(f"https://{host}:8443/v1")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "a.LocalHost.",
            "redis",
            "metadata",
        ),
        *("ip6-localhost", "printer.local", "metadata.google.internal", "a.internal.", "a.lan"),
        *("localhost.localdomain", "router.home.arpa", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
        *("[64:ff9b::7f00:1]", "[fe80::1%25lo]", "[::127.0.0.1]", "127.0.0.1", "169.254.169.254"),
        *(
            "\uff11\uff12\uff17.0.0.1",
            "127。0。0。1",
            "ⓛocalhost.com",
            "%6cocalhost",
            "%31%32%37.0.0.1",
            ".",
            "",
        ),
        *("a..b", ".example.com", "exa mple.com", "127.0.0.1\\.example.com", "[::1"),
    ],
)
def test_hosts_that_are_plainly_not_public(host: str) -> None:
    refused(f"http://{host}/v1")


@pytest.mark.parametrize(
    "url",
    [
        *("https://api.openai.com/v1", "https://API.OpenAI.com./v1", "http://8.8.8.8:8080/v1"),
        *(
            "https://[2606:4700::1111]/v1",
            "https://xn--bcher-kva.example/v1",
            "https://a_b.example",
        ),
        *("https://127.0.0.1.nip.io/v1", "https://internal.example.com", "https://1.example.com"),
    ],
)
def test_what_may_be_public_is_looked_at_when_it_is_connected_to(url: str) -> None:
    check_url(url)


@given(st.binary(min_size=4, max_size=4), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_an_address_as_one_number_is_never_taken(packed: bytes, way: str) -> None:
    refused(f"http://{way.format(int.from_bytes(packed))}/v1")


def test_the_refusal() -> None:
    error = not_allowed("10.0.0.1")
    assert (error.status, error.type, error.code) == (
        400,
        "invalid_request_error",
        "url_not_allowed",
    )
    assert error.param == "base_url"
    assert "10.0.0.1" in error.message
    assert host_of("https://Example.COM./v1") == "example.com"
    assert host_of("https://[::1") == ""


def refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_url(url, "place")
    assert (caught.value.code, caught.value.param) == ("url_not_allowed", "place")

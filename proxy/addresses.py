"""Which addresses the world at large has. Pure.

A provider that was made through the API may be at those only: whoever may make one could else
read what this machine and its network serve to themselves, a cloud's metadata among it.

The tables are IANA's registries of special-purpose addresses, written out: what Python's own
`is_global` says depends on its version. Of IPv6 only 2000::/3 is given to the world.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from proxy.errors import InvalidRequest

NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' own; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's wire server: a public address that only its machines see
            "169.254.0.0/16",  # link-local; the metadata of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocols' own; Oracle's metadata
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)

NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols' own, Teredo among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: leads to the IPv4 address within
            "3fff::/20",
        ),
    )
)
"""Within 2000::/3."""

_WORLD = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

_LOCAL_NAMES = ("localhost", "local", "internal", "localdomain", "lan", "home.arpa", "onion")
"""Names, and the ends of names, that no public host has."""

_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", re.ASCII)


class AddressNotAllowed(OSError):
    """A connection that was about to be made to an address that is not public."""


def is_public(text: str) -> bool:
    """Whether an address, as digits, is one of the world's. What is no address is not."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_4(address)
    inner = address.ipv4_mapped
    if address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return _is_public_6(address) if inner is None else _is_public_4(inner)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in network for network in NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _WORLD:
        return False
    return not any(address in network for network in NOT_PUBLIC_6)


def host_of(url: str) -> str:
    """The host of a URL in lower case, without the dot that may end it; "" when there is none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host.rstrip(".")


def check_url(url: str, field: str = "base_url") -> None:
    """Raises `InvalidRequest` for a URL whose host is plainly not public. What a name leads to is
    only known, and checked, when it is connected to."""
    host = host_of(url)
    if not (is_public(host) or _is_public_name(host)):
        raise not_allowed(host, field)


def _is_public_name(host: str) -> bool:
    """Whether a host is a name that may be public: of two labels at least, in plain ASCII, and
    no address, not even in the ways that resolvers take: `127.1`, `0x7f.1`, `017700000001`."""
    if not _NAME.fullmatch(host) or host.endswith(tuple("." + name for name in _LOCAL_NAMES)):
        return False
    last = host.rpartition(".")[2]
    return not (last.isdigit() or last.startswith("0x"))


def not_allowed(host: str, field: str | None = "base_url") -> InvalidRequest:
    """The refusal of a host."""
    message = (
        f"{host!r} is not a public address, and a provider that is made here may be at no other; "
        "put it into the configuration file instead"
    )
    return InvalidRequest(message, param=field, code="url_not_allowed")

"""Addresses as text: ``HOST:PORT`` and ``[IPv6]:PORT``, as configurations and the command line have them.

Rules. A host is a host name, an IPv4 address, or an IPv6 address in brackets; a port is 1 to 65535. An address is not
resolved here: whether a host name exists shows when a connection is made.
"""

from __future__ import annotations

import ipaddress
import re

from multipaxos.errors import ConfigurationError


def parse_address(text: str) -> tuple[str, int]:
    """The host (without brackets) and the port of an address. Raises ConfigurationError."""
    match = re.fullmatch(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,9})", text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            raise ConfigurationError(f"address {text!r}: an IPv6 address needs brackets, like [::1]:7400")
        raise ConfigurationError(f"address {text!r} must be HOST:PORT, like 127.0.0.1:7400 or [::1]:7400")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"address {text!r}: port {port} is out of range: it must be 1 to 65535")
    return _checked_host(text, match["six"], match["host"]), port


def _checked_host(text: str, six: str | None, host: str | None) -> str:
    """The host of the address `text`: either the IPv6 address `six` or the name or IPv4 address `host`."""
    if six is not None:
        try:
            ipaddress.IPv6Address(six)
        except ValueError as error:
            raise ConfigurationError(f"address {text!r}: {error}") from None
        return six
    if not host or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", host):
        raise ConfigurationError(f"address {text!r}: {host!r} is neither a host name nor an IP address")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise ConfigurationError(f"address {text!r}: {error}") from None
    return host


def format_address(host: str, port: int) -> str:
    """The text that `parse_address` reads back to `host` and `port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def canonical(address: tuple[str, int]) -> tuple[str, int]:
    """The address in the one form that equal addresses share: IPv6 shortened, a host name in lower case."""
    host, port = address
    return str(ipaddress.IPv6Address(host)) if ":" in host else host.lower(), port


def is_loopback(host: str) -> bool:
    """Whether the host is this machine alone: an address of the loopback network, or the name localhost. Any other name
    may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_cluster(text: str) -> list[tuple[str, int]]:
    """The addresses of ``HOST:PORT,HOST:PORT,...``, as ``--cluster`` takes it, in the order given.

    Raises ConfigurationError, also where an address is listed twice.
    """
    addresses: list[tuple[str, int]] = []
    for item in text.split(","):
        address = parse_address(item.strip())
        if address in addresses:
            raise ConfigurationError(f"address {item.strip()!r} is listed twice in {text!r}")
        addresses.append(address)
    return addresses

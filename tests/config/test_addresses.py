"""Addresses as text: read back to what was written; a wrong one is refused."""

import pytest

from multipaxos.config.addresses import format_address, parse_address, parse_cluster
from multipaxos.errors import ConfigurationError


def test_parse_cluster():
    assert parse_cluster("a:1, b.c:2,[::1]:3,10.0.0.1:65535") == [
        ("a", 1),
        ("b.c", 2),
        ("::1", 3),
        ("10.0.0.1", 65535),
    ]


@pytest.mark.parametrize("text", ["", "a:1,", ",", "a", "a:b", "a:1,a:1", "::1:5", "a:-1", "a b:1", "[::1]", "[a]:1"])
def test_parse_cluster_refuses(text):
    with pytest.raises(ConfigurationError, match="address"):
        parse_cluster(text)


@pytest.mark.parametrize("text", ["a:1", "[::1]:7400", "10.0.0.1:80"])
def test_address_round_trip(text):
    assert format_address(*parse_address(text)) == text

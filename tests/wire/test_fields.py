"""Python values that a field of a C struct cannot hold are refused; nothing is cut off."""

from __future__ import annotations

from typing import Any

import pytest

from multipaxos.errors import TooLarge
from multipaxos.wire import codec
from tests.wire.oracle import BODIES


def test_every_field_has_a_place_in_the_order_of_the_message() -> None:
    for kind in BODIES:
        assert list(codec.decode_message(codec.encode(kind, **filled(kind)))) == ["kind", *codec.FIELDS[kind]]


def filled(kind: str) -> dict[str, Any]:
    """The fields that an empty message of this kind needs to be valid."""
    return {"first": 1, "commands": [{}]} if kind == "phase2a" else {}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("ping", {"ballot": 2**64}),
        ("ping", {"ballot": -1}),
        ("phase1b", {"pvalues": [{"first": -1}]}),
        ("founding", {"incarnations": [2**64]}),
        ("ping", {"processes": [-1]}),
        ("request", {"commands": [{"nonce": 2**64}]}),
        ("request", {"commands": [{"kind": 2**16}]}),
        ("request", {"commands": [{"unacknowledged": 2**32}]}),
        ("request", {"commands": [{"session": -1}]}),
    ],
)
def test_a_number_that_does_not_fit_is_refused(kind: str, fields: dict[str, Any]) -> None:
    with pytest.raises(OverflowError):
        codec.encode(kind, **fields)


def test_an_error_names_the_greatest_number() -> None:
    with pytest.raises(OverflowError, match="65535"):
        codec.encode_request([(0, 0, 2**16, 0, b"")])


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ([(1, 2)], "tuple of 5 to 6"),
        ([[1, 2, 3, 4, b""]], "tuple of 5 to 6"),
        ([(0, 0.5, 0, 0, b"")], "has to be an int, not float"),
        ([(0, 0, 0, 0, "text")], "has to be bytes, not str"),
    ],
)
def test_a_value_of_another_type_is_refused(commands: list[Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        codec.encode_request(commands)


def test_a_field_that_elements_do_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="no such field: value; there are session, sequence"):
        codec.encode("request", commands=[{"value": 1}])


def test_a_payload_over_a_frame_is_refused() -> None:
    """Before its size is stored in 32 bits."""
    with pytest.raises(TooLarge, match="limit of a frame"):
        codec.encode_request([(1, 1, 1, 0, bytes(codec.FRAME_BYTES_MAX + 1))])

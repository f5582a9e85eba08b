"""The members of a cluster: one `[[node]]` table each.

Rules. Ids are 0 to n-1, so that a member's id is its bit in a vote mask. No address is listed twice, however it is
written. Every role is given to at least one member.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from multipaxos.config.addresses import canonical, parse_address
from multipaxos.config.toml import Misfit, Place, require_known, toml_string, toml_strings
from multipaxos.errors import ConfigurationError
from multipaxos.paxos.quorum import ACCEPTORS_MAX
from multipaxos.paxos.roles import ROLE_BITS

NODES_MAX = ACCEPTORS_MAX
ROLES = tuple(ROLE_BITS)


@dataclass(frozen=True)
class Member:
    """One node of the cluster: its id, its address as text, and its roles in the order of ROLES."""

    id: int
    address: str
    roles: tuple[str, ...] = ROLES

    @property
    def host(self) -> str:
        """The address's host, without brackets."""
        return parse_address(self.address)[0]

    @property
    def port(self) -> int:
        """The address's port."""
        return parse_address(self.address)[1]

    @property
    def place(self) -> tuple[str, int]:
        """(host, port)"""
        return parse_address(self.address)

    @property
    def role_mask(self) -> int:
        """The roles as bits: 1 replica, 2 leader, 4 acceptor."""
        return sum(ROLE_BITS[role] for role in self.roles)

    def to_toml(self) -> list[str]:
        """The lines of the member's table."""
        return [
            "[[node]]",
            f"id = {self.id}",
            f"address = {toml_string(self.address)}",
            f"roles = {toml_strings(self.roles)}",
        ]


def member_of(entries: dict[str, Any], nth: int) -> Member:
    """The member of the `nth` [[node]] table, whose values are not checked yet. Raises Misfit."""
    for key in entries:
        require_known(key, ("id", "address", "roles"), "key in [[node]]", Place("node", nth, key))
    for key in ("id", "address"):
        if key not in entries:
            raise Misfit(Place("node", nth), f"this [[node]] has no {key}")
    roles = entries.get("roles", list(ROLES))
    if not isinstance(roles, list):
        raise Misfit(Place("node", nth, "roles"), f"roles must be a list like {json.dumps(ROLES)}")
    return Member(entries["id"], entries["address"], tuple(roles))


def check_members(members: Sequence[Member]) -> None:
    """Raises Misfit unless ids, addresses and roles are as the rules above demand."""
    if not 1 <= len(members) <= NODES_MAX:
        raise Misfit(Place("node"), f"{len(members)} nodes are listed: there must be 1 to {NODES_MAX}")
    ids: set[int] = set()
    addresses: dict[tuple[str, int], int] = {}
    for nth, member in enumerate(members):
        _check_id(member, nth, ids, len(members))
        address = _checked_address(member, nth)
        if address in addresses:
            raise Misfit(
                Place("node", nth, "address"),
                f"node {member.id}: address {member.address} is already that of node {addresses[address]}",
            )
        ids.add(member.id)
        addresses[address] = member.id
        _check_roles(member, nth)
    for role in ROLES:
        if not any(role in member.roles for member in members):
            raise Misfit(Place("node"), f"no node has the role {role!r}: give it to at least one")


def _check_id(member: Member, nth: int, ids: Collection[int], count: int) -> None:
    place = Place("node", nth, "id")
    if not is_whole(member.id):
        raise Misfit(place, f"node id {member.id!r} must be a whole number")
    if member.id in ids:
        raise Misfit(place, f"node id {member.id} is used twice")
    if not 0 <= member.id < count:
        raise Misfit(place, f"node id {member.id}: ids of {count} nodes must be 0 to {count - 1}, without gaps")


def _checked_address(member: Member, nth: int) -> tuple[str, int]:
    """The member's host and port in the form in which addresses are compared."""
    place = Place("node", nth, "address")
    if not isinstance(member.address, str):
        raise Misfit(place, f'node {member.id}: address {member.address!r} must be a string "HOST:PORT"')
    try:
        return canonical(parse_address(member.address))
    except ConfigurationError as error:
        raise Misfit(place, f"node {member.id}: {error}") from None


def _check_roles(member: Member, nth: int) -> None:
    place = Place("node", nth, "roles")
    for role in member.roles:
        require_known(role, ROLES, "role", place)
    if not member.roles or len(set(member.roles)) != len(member.roles):
        raise Misfit(place, f"node {member.id}: roles must be some of {', '.join(ROLES)}, each once")


def is_whole(value: object) -> TypeGuard[int]:
    """Is it an integer, other than True and False?"""
    return isinstance(value, int) and not isinstance(value, bool)

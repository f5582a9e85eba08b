"""`machine-version` and `semantics`: numbers of the whole cluster, decided in its log."""

from __future__ import annotations

from pathlib import Path

import click
import uvloop

from multipaxos.cli.options import admin_keys, cluster_option, key_file_option, reports_errors, timeout_option
from multipaxos.client.admin import AdminClient
from multipaxos.config.keys import Keys
from multipaxos.paxos.settings import MACHINE_VERSION, MACHINE_VERSION_MAX, SEMANTICS

Addresses = list[tuple[str, int]]
NUMBER = click.IntRange(1, MACHINE_VERSION_MAX)


async def decide(cluster: Addresses, keys: Keys, name: int, value: int, timeout_s: float) -> tuple[int, int]:
    """Has the setting decided; (slot, the number in force after it)."""
    admin = AdminClient(cluster, keys, timeout_s=timeout_s)
    async with admin:
        return await admin.change(name, value)


def raise_number(cluster: Addresses, key_file: Path | None, timeout: float, name: int, value: int, what: str) -> None:
    """Has the setting decided, and says what is in force."""
    slot, number = uvloop.run(decide(cluster, admin_keys(key_file), name, value, timeout))
    click.echo(f"{what} {number} is in force on every node, from slot {slot + 1} on at the latest")


@click.command("machine-version")
@cluster_option()
@key_file_option()
@timeout_option()
@click.argument("number", type=NUMBER)
@reports_errors
def machine_version(cluster: Addresses, key_file: Path | None, timeout: float, number: int) -> None:
    """Have every replica's machine do what its version NUMBER does, from one slot on. It never goes back.

    Every node must be up, with a machine whose `version` is NUMBER or more: replace the code node by node first. It is
    refused otherwise, because a node with older code would stop.
    """
    raise_number(cluster, key_file, timeout, MACHINE_VERSION, number, "machine version")


@click.command("semantics")
@cluster_option()
@key_file_option()
@timeout_option()
@click.argument("number", type=NUMBER)
@reports_errors
def semantics(cluster: Addresses, key_file: Path | None, timeout: float, number: int) -> None:
    """Have every node apply commands by the rules NUMBER of this program, from one slot on. It never goes back.

    Every node must be up, with a program that knows NUMBER: `multipaxos status --json` shows what each knows.
    """
    raise_number(cluster, key_file, timeout, SEMANTICS, number, "semantics")


COMMANDS = [machine_version, semantics]

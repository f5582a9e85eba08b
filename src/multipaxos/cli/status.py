"""`status`: one row per node."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.table import Column, Table

from multipaxos.cli.options import cluster_option, reports_errors
from multipaxos.client.discovery import fetch_status
from multipaxos.config.addresses import format_address
from multipaxos.errors import HandshakeRefused

NO_CLUSTER = f"{0:016x}"  # the id of a node's cluster before the node knows it
ROW_WIDTH = 1000  # if the output is no terminal: no value is cut
COLUMNS = [
    "id",
    "address",
    "alive",
    "leading",
    "ballot",
    "slot_in",
    "slot_out",
    "mark",
    "voting",
    "state_hash",
    "storage",
]
DIFFERS = {
    "minority": "its state differs from that of a majority: it gives no answers until it is restarted",
    "no majority": "no majority of the replicas has one state: clients may read different things from each",
}


async def fetch_row(place: int, address: tuple[str, int]) -> dict[str, Any]:
    """The row of the node at this place in the list of addresses. That of a node that does not answer, or refuses the
    link, has `id` (its place), `address`, `alive` and, if it refuses, `refusal` only."""
    row = {"id": place, "address": format_address(*address), "alive": False}
    try:
        return await fetch_status(address) or row
    except HandshakeRefused as error:
        return row | {"refusal": str(error)}


async def fetch_rows(addresses: list[tuple[str, int]]) -> list[dict[str, Any]]:
    """The rows of all nodes, in the order of their addresses."""
    return list(await asyncio.gather(*(fetch_row(place, address) for place, address in enumerate(addresses))))


def remarks(rows: list[dict[str, Any]]) -> list[str]:
    """What the table has no column for, one line each."""
    lines = []
    answers = [row for row in rows if row["alive"]]
    clusters = sorted({row["cluster_id"] for row in answers} - {NO_CLUSTER})
    if len(clusters) > 1:
        lines.append(f"the addresses are of {len(clusters)} clusters, {', '.join(clusters)}: give those of one cluster")
    outvoted = {row["id"] for row in answers if row["differs"] == "minority"}
    for row in rows:
        if "refusal" in row:
            lines.append(f"{row['address']}: {row['refusal']}")
        elif not row["alive"]:
            lines.append(f"{row['address']} does not answer: start the node there, or mend the address")
        elif row["differs"] is not None:
            lines.append(f"node {row['id']}: {DIFFERS[row['differs']]}")
        elif not outvoted.issuperset(row["differs_from"]):  # of outvoted ones, their own row says it
            others = ", ".join(map(str, row["differs_from"]))
            lines.append(
                f"node {row['id']}: its state differs from that of node {others}: start the nodes that do not "
                "answer, a majority shows whose is wrong"
            )
    return lines


@click.command()
@cluster_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reports_errors
def status(cluster: list[tuple[str, int]], as_json: bool) -> None:
    """Show one row per node."""
    rows = uvloop.run(fetch_rows(cluster))
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table(*(Column(column, overflow="fold") for column in COLUMNS))
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in COLUMNS))
    Console(width=None if sys.stdout.isatty() else ROW_WIDTH).print(table)
    for line in remarks(rows):
        click.echo(line)


COMMANDS = [status]

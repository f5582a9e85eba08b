"""The command line: one group, the commands of its families in modules of their own."""

from __future__ import annotations

import click

from multipaxos.cli import bench, init, serve, settings, simulate, status, store


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="multipaxos")
def main() -> None:
    """A replicated key-value store on Multi-Paxos."""


for _family in (init, serve, status, settings, store, bench, simulate):
    for _command in _family.COMMANDS:
        main.add_command(_command)

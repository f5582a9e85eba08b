"""`init`: the files of a new cluster."""

from __future__ import annotations

from pathlib import Path

import click

from multipaxos.cli.options import Cluster, export_line, reports_errors
from multipaxos.config.addresses import format_address
from multipaxos.config.cluster import Config
from multipaxos.config.keys import write_new_key
from multipaxos.config.members import Member
from multipaxos.errors import ConfigurationError


@click.command()
@click.option("--nodes", type=Cluster(), required=True, help="HOST:PORT of each node, in the order of their ids.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder for both; made if missing.")
@click.option("--name", default="multipaxos", show_default=True, help="Of the cluster; no other cluster may have it.")
@reports_errors
def init(nodes: list[tuple[str, int]], out: Path, name: str) -> None:
    """Write the files of a new cluster: cluster.toml and cluster.key."""
    members = tuple(Member(id, format_address(*place)) for id, place in enumerate(nodes))
    config = Config(name=name, nodes=members, key_file=Path("cluster.key"))
    config_path, key_path = out.absolute() / "cluster.toml", out.absolute() / "cluster.key"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with config_path.open("x", encoding="utf-8") as file:
            file.write(config.to_toml())
    except OSError as error:
        raise ConfigurationError(f"{config_path} cannot be made: {error.strerror}; choose another --out") from error
    try:
        write_new_key(key_path)
    except ConfigurationError:
        config_path.unlink()
        raise
    click.echo(f"made {config_path} and {key_path}")
    click.echo("copy both to every node, into one folder, the key with mode 0600; then start node N there:")
    click.echo("  multipaxos serve --config cluster.toml --node N --data-dir DIRECTORY")
    click.echo("for the commands of the shell:")
    click.echo(f"  {export_line(config, key_path)}")


COMMANDS = [init]

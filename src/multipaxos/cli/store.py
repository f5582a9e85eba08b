"""`put`, `get`, `create`, `update`, `remove`, `cas`, `scan`: the store from the shell.

Keys and values are bytes: arguments are used as the shell passed them, values are printed as they are.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from multipaxos.cli.options import REFUSED, cluster_option, fail, reports_errors, timeout_option
from multipaxos.client.blocking import BlockingClient
from multipaxos.errors import CompareFailed

Addresses = list[tuple[str, int]]


class Bytes(click.ParamType[bytes]):
    """An argument as its bytes."""

    name = "TEXT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """Undoes Python's decoding of the command line."""
        return value if isinstance(value, bytes) else os.fsencode(value)


def text(data: bytes) -> str:
    """For JSON: UTF-8, with other bytes escaped so that nothing is lost."""
    return data.decode("utf-8", "backslashreplace")


def data_command(command: Callable[..., None]) -> click.Command:
    """Adds the options that all of these commands have."""
    for decorate in (
        reports_errors,
        cluster_option(),
        timeout_option(),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):
        command = decorate(command)
    return click.command()(command)


def print_version(version: int, as_json: bool) -> None:
    """What a write that was done prints."""
    click.echo(json.dumps({"ok": True, "version": version}) if as_json else f"ok, version {version}")


@data_command
@click.argument("key", type=Bytes())
@click.argument("value", type=Bytes())
def put(cluster: Addresses, timeout: float, as_json: bool, key: bytes, value: bytes) -> None:
    """Set KEY to VALUE, whether or not KEY exists."""
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        print_version(kv.put(key, value), as_json)


@data_command
@click.argument("key", type=Bytes())
@click.argument("value", type=Bytes())
def create(cluster: Addresses, timeout: float, as_json: bool, key: bytes, value: bytes) -> None:
    """Set KEY, which must not exist, to VALUE."""
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        print_version(kv.create(key, value), as_json)


@data_command
@click.argument("key", type=Bytes())
@click.argument("value", type=Bytes())
def update(cluster: Addresses, timeout: float, as_json: bool, key: bytes, value: bytes) -> None:
    """Set KEY, which must exist, to VALUE."""
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        print_version(kv.update(key, value), as_json)


@data_command
@click.argument("key", type=Bytes())
def get(cluster: Addresses, timeout: float, as_json: bool, key: bytes) -> None:
    """Print the value of KEY."""
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        found = kv.get_versioned(key)
    if found is None:
        fail(f"no key {text(key)!r}", REFUSED)
    value, version = found
    if as_json:
        click.echo(json.dumps({"key": text(key), "value": text(value), "version": version}))
    else:
        sys.stdout.buffer.write(value + b"\n")


@data_command
@click.argument("key", type=Bytes())
def remove(cluster: Addresses, timeout: float, as_json: bool, key: bytes) -> None:
    """Remove KEY."""
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        kv.remove(key)
    click.echo(json.dumps({"ok": True}) if as_json else "ok")


@data_command
@click.argument("key", type=Bytes())
@click.argument("expected", type=Bytes())
@click.argument("new", type=Bytes())
def cas(cluster: Addresses, timeout: float, as_json: bool, key: bytes, expected: bytes, new: bytes) -> None:
    """Set KEY to NEW if its value is EXPECTED."""
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        try:
            print_version(kv.cas(key, expected, new), as_json)
        except CompareFailed as error:
            if as_json:
                click.echo(json.dumps({"ok": False, "value": text(error.value), "version": error.version}))
            raise


@data_command
@click.argument("prefix", type=Bytes())
@click.option("--limit", type=click.IntRange(0), default=0, help="At most so many pairs; 0: all.")
@click.option("--after", type=Bytes(), default=b"", help="Go on after this key.")
def scan(cluster: Addresses, timeout: float, as_json: bool, prefix: bytes, limit: int, after: bytes) -> None:
    """Print the pairs whose keys begin with PREFIX, in key order."""
    left = limit
    with BlockingClient(cluster, timeout_s=timeout) as kv:
        while True:
            page = kv.scan(prefix, left, after)
            for key, value, version in page.pairs:
                if as_json:
                    click.echo(json.dumps({"key": text(key), "value": text(value), "version": version}))
                else:
                    sys.stdout.buffer.write(key + b"\t" + value + b"\n")
            left -= len(page.pairs)
            if not page.more or (limit and left <= 0):
                return
            after = page.pairs[-1][0]


COMMANDS = [put, get, create, update, remove, cas, scan]

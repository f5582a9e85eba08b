"""What the commands of the command line share, and how errors end them.

Exit codes: 0 done, 1 the command's own refusal (no such key, exists), 2 wrong usage or configuration, 3 no quorum in
time.
"""

from __future__ import annotations

import functools
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from multipaxos.config.addresses import parse_address, parse_cluster
from multipaxos.config.cluster import Config
from multipaxos.config.keys import Keys, read_keys
from multipaxos.errors import (
    ConfigurationError,
    DirectoryInUse,
    DirectoryMismatch,
    HandshakeRefused,
    LogTooNew,
    MachineTooOld,
    MultipaxosError,
    NoQuorum,
    TooLarge,
)

REFUSED, USAGE, NO_QUORUM = 1, 2, 3
WRONG_USES = (
    ConfigurationError,
    DirectoryInUse,
    DirectoryMismatch,
    HandshakeRefused,
    LogTooNew,
    MachineTooOld,
    TooLarge,
)
CLUSTER_VARIABLE, KEY_VARIABLE = "MULTIPAXOS_CLUSTER", "MULTIPAXOS_KEY_FILE"


def fail(message: str, code: int) -> NoReturn:
    """Prints one line on standard error and ends the command with this code."""
    click.echo(f"multipaxos: {message}", err=True)
    sys.exit(code)


def exit_code(error: MultipaxosError) -> int:
    """The code with which an error ends the command."""
    if isinstance(error, NoQuorum):
        return NO_QUORUM
    if isinstance(error, WRONG_USES):
        return USAGE
    return REFUSED


def reports_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turns the package's errors into one line and an exit code, and Ctrl-C into code 130 without a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except MultipaxosError as error:
            fail(str(error), exit_code(error))
        except KeyboardInterrupt:
            sys.exit(130)

    return wrapped


class Cluster(click.ParamType[list[tuple[str, int]]]):
    """HOST:PORT,HOST:PORT,..."""

    name = "HOST:PORT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """To a list of (host, port)."""
        if isinstance(value, list):
            return value
        try:
            return parse_cluster(value)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT"""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """To (host, port)."""
        if isinstance(value, tuple):
            return value
        try:
            return parse_address(value)
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


class Finite(click.FloatRange):
    """A number in a range, and neither infinite nor "nan", which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """To a float."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a number that can be used here", param, ctx)
        return number


def timeout_option() -> Callable[..., Any]:
    """--timeout: how long a command waits for its answer."""
    return click.option("--timeout", type=Finite(0.001), default=10.0, show_default=True, help="Seconds.")


def cluster_option(required: bool = True) -> Callable[..., Any]:
    """--cluster, also from the environment."""
    return click.option(
        "--cluster",
        type=Cluster(),
        envvar=CLUSTER_VARIABLE,
        required=required,
        show_envvar=True,
        help="Addresses of the nodes.",
    )


def key_file_option() -> Callable[..., Any]:
    """--key-file, also from the environment: for the commands that change or read out a cluster."""
    return click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        envvar=KEY_VARIABLE,
        show_envvar=True,
        help="The cluster's key; needed unless the cluster has none.",
    )


def admin_keys(key_file: Path | None) -> Keys:
    """The keys that --key-file names. Raises ConfigurationError."""
    return () if key_file is None else read_keys(key_file)


def export_line(config: Config, key_file: Path) -> str:
    """The line that tells a shell's later commands where the cluster is, and its key."""
    addresses = ",".join(node.address for node in config.nodes)
    return f"export {CLUSTER_VARIABLE}={shlex.quote(addresses)} {KEY_VARIABLE}={shlex.quote(str(key_file))}"

"""What all commands share: exit codes, addresses, one line for an error."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from multipaxos import errors
from multipaxos.cli.options import (
    NO_QUORUM,
    REFUSED,
    USAGE,
    Address,
    cluster_option,
    exit_code,
    reports_errors,
    timeout_option,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.KeyExists("k"), REFUSED),
        (errors.CompareFailed("k", b"v", 1), REFUSED),
        (errors.SessionExpired("s"), REFUSED),
        (errors.ConfigurationError("c"), USAGE),
        (errors.DirectoryInUse("d"), USAGE),
        (errors.HandshakeRefused("h"), USAGE),
        (errors.LogTooNew("l"), USAGE),
        (errors.MachineTooOld("m"), USAGE),
        (errors.TooLarge("t"), USAGE),
        (errors.NoQuorum("q"), NO_QUORUM),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_the_command_with_its_code_and_one_line(error: errors.MultipaxosError, code: int) -> None:
    @click.command()
    @reports_errors
    def command() -> None:
        raise error

    assert exit_code(error) == code
    result = CliRunner().invoke(command)
    assert result.exit_code == code
    assert result.output == f"multipaxos: {error}\n"


def test_ctrl_c_ends_the_command_without_a_traceback() -> None:
    @click.command()
    @reports_errors
    def command() -> None:
        raise KeyboardInterrupt

    result = CliRunner().invoke(command)
    assert (result.exit_code, result.output) == (130, "")


def test_addresses_come_from_the_option_or_the_environment() -> None:
    @click.command()
    @cluster_option()
    @click.option("--listen", type=Address())
    def command(cluster: list[tuple[str, int]], listen: tuple[str, int] | None) -> None:
        click.echo(repr((cluster, listen)))

    given = CliRunner().invoke(command, ["--cluster", "a:1,[::1]:2", "--listen", "b:3"])
    assert given.output == "([('a', 1), ('::1', 2)], ('b', 3))\n"
    assert CliRunner(env={"MULTIPAXOS_CLUSTER": "a:1"}).invoke(command, []).output == "([('a', 1)], None)\n"
    for arguments in (["--cluster", "a"], ["--cluster", "a:1", "--listen", "b"], []):
        assert CliRunner(env={"MULTIPAXOS_CLUSTER": None}).invoke(command, arguments).exit_code == USAGE


@pytest.mark.parametrize("given", ["nan", "inf", "-1", "0"])
def test_a_timeout_is_a_number_above_zero(given: str) -> None:
    @click.command()
    @timeout_option()
    def command(timeout: float) -> None:
        click.echo(timeout)

    assert CliRunner().invoke(command, ["--timeout", given]).exit_code == USAGE
    assert CliRunner().invoke(command, ["--timeout", "0.5"]).output == "0.5\n"

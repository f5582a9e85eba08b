"""Configurations: what is read, what is refused and in which line, what the digest covers."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from multipaxos.config.cluster import Config, Grid, Sizes
from multipaxos.config.members import Member
from multipaxos.errors import ConfigurationError

GOOD = """\
[cluster]
name = "demo"
quorum = "majority"

[[node]]
id = 0
address = "127.0.0.1:7400"
roles = ["replica", "leader", "acceptor"]

[[node]]
id = 1
address = "[::1]:7401"
roles = ["acceptor"]

[[node]]
id = 2
address = "paxos-2.example:7402"
roles = ["acceptor", "replica"]
"""


def test_reads_what_is_written():
    config = Config.parse(GOOD)
    assert config.name == "demo"
    assert config.quorum == "majority"
    assert (config.window, config.election_timeout_ms, config.ping_interval_ms) == (8192, 500, 100)
    assert config.nodes[2] == Member(2, "paxos-2.example:7402", ("replica", "acceptor"))
    assert (config.nodes[1].host, config.nodes[1].port) == ("::1", 7401)
    assert config.role_masks() == [7, 4, 5]
    assert config.quorums().acceptors == 0b111


def test_only_acceptors_make_quorums():
    nodes = (
        Member(0, "a:1", ("replica", "leader")),
        *(Member(i, f"a:{i + 1}", ("acceptor",)) for i in (1, 2, 3)),
    )
    quorums = Config("c", nodes).quorums()
    assert quorums.acceptors == 0b1110
    assert not quorums.is_phase1_quorum(0b0011)
    assert quorums.is_phase1_quorum(0b0110)


@pytest.mark.parametrize("quorum", ["majority", Sizes(4, 3), Grid(2, 3)])
def test_toml_round_trip(quorum, tmp_path):
    config = Config(
        'näme "quoted" \\ 🂡',
        Config.local(6, 7400).nodes,
        quorum,
        window=64,
        election_timeout_ms=50,
        ping_interval_ms=7,
    )
    path = tmp_path / "cluster.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert Config.load(path) == config
    assert Config.load(str(path)).charter().digest() == config.charter().digest()


def test_local_cluster():
    config = Config.local(3, 7400, name="here")
    assert config.name == "here"
    assert [node.address for node in config.nodes] == ["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"]
    assert config.role_masks() == [7, 7, 7]
    with pytest.raises(ConfigurationError, match="0 nodes are listed"):
        Config.local(0, 7400)
    with pytest.raises(ConfigurationError, match="1 to 64"):
        Config.local(65, 7400)
    with pytest.raises(ConfigurationError, match="port 65536 is out of range"):
        Config.local(2, 65535)


def test_a_key_file_lies_beside_the_configuration(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(GOOD.replace("[cluster]", '[cluster]\nkey_file = "cluster.key"'))
    assert Config.load(path).key_file == tmp_path / "cluster.key"
    assert Config.load(path).charter().digest() == Config.parse(GOOD).charter().digest()
    path.write_text(GOOD.replace("[cluster]", '[cluster]\nkey_file = "/etc/multipaxos/key"'))
    assert Config.load(path).key_file == Path("/etc/multipaxos/key")
    again = Config.parse(Config.load(path).to_toml())
    assert again == Config.load(path)
    assert Config.parse(GOOD).key_file is None


# -- digest


def test_digest_covers_what_must_agree():
    config = Config.local(6, 7400)
    changed = [
        dataclasses.replace(config, name="other"),
        dataclasses.replace(config, quorum=Sizes(4, 4)),
        dataclasses.replace(config, quorum=Grid(2, 3)),
        dataclasses.replace(config, quorum=Grid(3, 2)),
        dataclasses.replace(config, window=4096),
        dataclasses.replace(config, nodes=(*config.nodes[:5], Member(5, "127.0.0.1:7405", ("acceptor",)))),
        Config.local(5, 7400),
    ]
    digests = {config.charter().digest(), *(other.charter().digest() for other in changed)}
    assert len(digests) == len(changed) + 1
    assert all(0 < digest < 1 << 64 for digest in digests)


def test_digest_leaves_out_what_may_differ():
    config = Config.parse(GOOD)
    moved = GOOD.replace("127.0.0.1:7400", "10.0.0.1:9").replace('["acceptor", "replica"]', '["replica", "acceptor"]')
    assert Config.parse(moved).charter().digest() == config.charter().digest()
    assert (
        dataclasses.replace(config, election_timeout_ms=1000, ping_interval_ms=9, in_flight_bytes=1 << 20)
        .charter()
        .digest()
        == config.charter().digest()
    )
    shuffled = dataclasses.replace(config, nodes=config.nodes[::-1])
    assert shuffled == config
    assert shuffled.charter().digest() == config.charter().digest()


def test_digest_is_the_same_in_another_process():
    code = "from multipaxos.config.cluster import Config; print(Config.local(3, 7400).charter().digest())"
    command = [sys.executable, "-O", "-c", code]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(answer.stdout) == Config.local(3, 7400).charter().digest()


# -- refusals, with their line


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ('name = "demo"', 'name = ""', 2, "needs a name"),
        ('name = "demo"', "", 1, "needs a name"),
        ('name = "demo"', "name = 5", 2, "needs a name"),
        ('name = "demo"', 'name = "a\\nb"', 2, "printable"),
        ('name = "demo"', 'nam = "demo"', 2, "unknown key in .cluster. 'nam'; did you mean 'name'"),
        ("[cluster]", "[cluter]", 1, "unknown table 'cluter'; did you mean 'cluster'"),
        ('"majority"', '"majorty"', 3, "did you mean 'majority'"),
        ('"majority"', "3", 3, "quorum must be"),
        ('"majority"', "{ phase1 = 2 }", 3, "both phase1 and phase2"),
        ('"majority"', "{ phase1 = 2, phase2 = 2, grid = [1, 3] }", 3, "grid = .ROWS, COLUMNS. alone"),
        ('"majority"', "{ phase = 2, phase2 = 2 }", 3, "unknown key of quorum 'phase'"),
        ('"majority"', "{ phase1 = 1, phase2 = 2 }", 3, "need not intersect"),
        ('"majority"', "{ phase1 = 9, phase2 = 2 }", 3, "only 3 acceptors"),
        ('"majority"', "{ grid = [2, 2] }", 3, "a grid of 2 x 2 needs 4 acceptors, there are 3"),
        ('"majority"', "{ grid = [3] }", 3, "grid = .ROWS"),
        ('"majority"', '"majority"\nwindow = 1000', 4, "power of two"),
        ('"majority"', '"majority"\nwindow = 32', 4, "64 to 65536"),
        ('"majority"', '"majority"\nwindow = true', 4, "power of two"),
        ('"majority"', '"majority"\nelection_timeout_ms = 0', 4, "whole number"),
        ('"majority"', '"majority"\nin_flight_bytes = 9', 4, "must be a whole number, 65536 to 67108864"),
        ('"majority"', '"majority"\nping_interval_ms = 1.5', 4, "whole number"),
        ('"majority"', '"majority"\nelection_timeout_ms = 199', 4, "at least twice ping_interval_ms = 100"),
        ('"majority"', '"majority"\nkey_file = 5', 4, "key_file = 5 must be the path of a file"),
        ('"majority"', '"majority"\nkey_file = ""', 4, "must be the path of a file"),
        ("id = 1", "id = 0", 11, "node id 0 is used twice"),
        ("id = 1", "id = 3", 11, "must be 0 to 2, without gaps"),
        ("id = 1", "id = -1", 11, "without gaps"),
        ("id = 1", 'id = "1"', 11, "whole number"),
        ("id = 1", "", 10, "has no id"),
        ("id = 1", "ID = 1", 11, "unknown key in .*did you mean 'id'"),
        ('"paxos-2.example:7402"', '"127.0.0.1:7400"', 17, "already that of node 0"),
        ('"paxos-2.example:7402"', '"[0::0:1]:7401"', 17, "already that of node 1"),
        ('"[::1]:7401"', '"::1:7401"', 12, "needs brackets"),
        ('"[::1]:7401"', '"[::g]:7401"', 12, "::g"),
        ('"[::1]:7401"', '"host"', 12, "HOST:PORT"),
        ('"[::1]:7401"', '"host:70000"', 12, "port 70000 is out of range"),
        ('"[::1]:7401"', '"host:0"', 12, "port 0 is out of range"),
        ('"[::1]:7401"', '":7401"', 12, "neither a host name nor"),
        ('"[::1]:7401"', '"256.1.1.1:7401"', 12, "256"),
        ('"[::1]:7401"', "7401", 12, "must be a string"),
        (
            'roles = ["acceptor"]',
            'roles = ["aceptor"]',
            13,
            "unknown role 'aceptor'; did you mean 'acceptor'",
        ),
        ('roles = ["acceptor"]', 'roles = "acceptor"', 13, "must be a list"),
        ('roles = ["acceptor"]', "roles = []", 13, "roles must be some of"),
        ('roles = ["acceptor"]', 'roles = ["acceptor", "acceptor"]', 13, "each once"),
        ('"replica", "leader", "acceptor"', '"replica", "acceptor"', 5, "no node has the role 'leader'"),
        ("id = 1", "id = ", 11, "not valid TOML"),
        ('roles = ["acceptor", "replica"]', 'roles = ["acceptor"', 19, "not valid TOML"),
    ],
)
def test_refusals_name_the_line(old, new, line, reason):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(ConfigurationError, match=reason) as refusal:
        Config.parse(text, "cluster.toml")
    assert str(refusal.value).startswith(f"cluster.toml:{line}: ")


def test_lines_of_a_quorum_table():
    text = GOOD.replace('quorum = "majority"\n', "[cluster.quorum] # sizes\nphase1 = 2\nphase2 = 2\n")
    assert Config.parse(text).quorum == Sizes(2, 2)
    with pytest.raises(ConfigurationError, match=r"^cluster\.toml:3: .*need not intersect"):
        Config.parse(text.replace("phase2 = 2", "phase2 = 1"), "cluster.toml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "must be a table .cluster."), ('[cluster]\nname = "a"\n', "table ..node.. for each node")],
)
def test_missing_tables(text, reason):
    with pytest.raises(ConfigurationError, match=f"^cluster.toml: .*{reason}"):
        Config.parse(text, "cluster.toml")


def test_single_brackets():
    with pytest.raises(ConfigurationError, match="with double brackets"):
        Config.parse('[cluster]\nname = "a"\n[node]\nid = 0\n')


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read: No such file"):
        Config.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[cluster]\nname = "\xe9"\n')
    with pytest.raises(ConfigurationError, match=r"latin\.toml: is not UTF-8"):
        Config.load(tmp_path / "latin.toml")


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config.local(3, 7400).name = "other"

"""The language of transcripts: each directive, and what it does on the stage.

After a directive everything flows until it is quiet, except messages that a rule holds or loses. `PATTERN` is
``KIND SOURCE -> TARGET``; each of the three may be ``*``. Nodes are n0, n1, ...

    cluster 3                        founded, linked nodes; then, in this order:
        fresh                        not founded yet
        unlinked                     no links yet
        quorum 3 2 | quorum grid 2 2 sizes for phase 1 and 2, or a grid of rows and columns; else majorities
        roles n3=replica ...         any of replica+leader+acceptor; all three if nothing is said
        window 8                     WINDOW
        leader n0                    it leads already; with
        clients alice@n0 bob@n1      whose sessions are open
    alice connects to n0             a new client, or an old one that goes to another node
    alice sends x=1 y=2              new commands of her session, in one request
    alice repeats                    all commands without an answer, as after a time-out of hers
    n0 times out                     its patience ends: it scouts. The clocks of the others stand still
    wait 100 ms                      all clocks go on
    show ping pong                   from now on these kinds are in the trace; by default ping, pong, founding are not
    hold PATTERN | lose PATTERN      from now on messages that match are held in the network, or lost
    cut n0                           from now on all messages between it and the other nodes are lost
    heal | heal PATTERN | heal n0    all such rules end, or that one
    deliver PATTERN                  held messages that match arrive, in the order in which they were sent
    drop PATTERN                     held messages that match are lost
    repeat PATTERN                   the newest message that matches arrives once more
    n0's disk stalls                 syncs do not end
    n0's disk goes on | fails        they end, well or badly
    n0 crashes                       what was not durable is lost; its links break, and all notice this at once
    n0 restarts [without its disk]   a new process from the disk, or from a new one; it links to all that live
    link n0 n1 | unlink n0 n1        a connection comes or breaks
"""

from __future__ import annotations

import re
from collections.abc import Callable

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES, ROLE_BITS
from multipaxos.simulation.disk import Disk
from multipaxos.simulation.timeline import MS
from tests.support.founders import founders_meta
from tests.transcripts.actor import Actor, contents
from tests.transcripts.client import Client
from tests.transcripts.network import HELD, LOST, Cut, Pattern, ScriptError
from tests.transcripts.stage import Stage
from tests.transcripts.trace import QUIET

WAIT_MAX_MS = 60_000


# == the cluster

CLUSTER = re.compile(
    r"cluster (?P<nodes>\d+)(?P<fresh> fresh)?(?P<unlinked> unlinked)?"
    r"( quorum (grid (?P<rows>\d+) (?P<columns>\d+)|(?P<one>\d+) (?P<two>\d+)))?"
    r"( window (?P<window>\d+))?( roles(?P<roles>( n\d+=[a-z+]+)+))?"
    r"( leader (?P<leader>n\d+)( clients(?P<clients>( [a-z]+@n\d+)+))?)?"
)


def begin(text: str) -> Stage:
    """Performs the first directive of every transcript; returns the stage."""
    match = CLUSTER.fullmatch(text)
    if match is None:
        raise ScriptError(f"a transcript begins with 'cluster N', not with {text!r}; see tests/transcripts/language.py")
    roles = read_roles(int(match["nodes"]), match["roles"] or "")
    voters = [id for id, role in enumerate(roles) if role & ACCEPTOR]
    quorums = QuorumSystem.majority(voters)
    if match["one"]:
        quorums = QuorumSystem.sizes(voters, int(match["one"]), int(match["two"]))
    elif match["rows"]:
        quorums = QuorumSystem.grid(voters, int(match["rows"]), int(match["columns"]))
    stage = Stage(roles, quorums, window=int(match["window"] or 64))
    start(stage, fresh=bool(match["fresh"]), linked=not match["unlinked"])
    if not match["fresh"]:
        set_scene(stage, match["leader"] or "", match["clients"] or "")
    return stage


def read_roles(nodes: int, text: str) -> list[int]:
    """The roles of every node, from ``n3=replica n1=leader+acceptor``."""
    roles = [ALL_ROLES] * nodes
    for part in text.split():
        name, _, words = part.partition("=")
        unknown = set(words.split("+")) - set(ROLE_BITS)
        if unknown or int(name[1:]) >= nodes:
            raise ScriptError(f"{part!r}: nodes are n0 to n{nodes - 1}, roles are {', '.join(ROLE_BITS)}")
        roles[int(name[1:])] = sum(ROLE_BITS[word] for word in set(words.split("+")))
    return roles


def start(stage: Stage, *, fresh: bool, linked: bool) -> None:
    """Starts all nodes."""
    actors = list(stage.actors.values())
    meta = founders_meta([actor.disk.incarnation for actor in actors])
    for actor in actors:
        if not fresh:
            actor.disk.commit(meta, b"")
        actor.start()
    for actor in actors:
        if linked:
            link_all(stage, actor)


def set_scene(stage: Stage, leader: str, clients: str) -> None:
    """A leader leads and clients have open sessions when the curtain rises; the trace does not show how they came."""
    stage.flow()
    if leader:
        times_out(stage, leader)
        stage.flow()
    for pair in clients.split():
        connects(stage, *pair.split("@"))
        stage.flow()
    stage.raise_curtain()
    if leader:
        stage.trace.say(
            "scene", leader, f"leads at {stage.ballot_of(leader)}, slots below {stage.applied_everywhere()} are applied"
        )


def link_all(stage: Stage, actor: Actor) -> None:
    """Its links to all nodes that live."""
    for other in stage.actors.values():
        if other is not actor:
            stage.link(actor, other)


# == names


def node(stage: Stage, name: str) -> Actor:
    """The node of that name."""
    if name not in stage.actors:
        raise ScriptError(f"there is no node {name!r}, only {', '.join(stage.actors)}")
    return stage.actors[name]


def living(stage: Stage, name: str) -> Actor:
    """The node of that name, which is up."""
    actor = node(stage, name)
    if actor.core is None:
        raise ScriptError(f"{name} is down")
    return actor


def client(stage: Stage, name: str) -> Client:
    """The client of that name."""
    if name not in stage.clients:
        raise ScriptError(f"there is no client {name!r}: it has to connect first")
    return stage.clients[name]


def pattern(stage: Stage, text: str) -> Pattern:
    """The messages that a text names."""
    return Pattern.read(text, {*stage.actors, *stage.clients})


# == directives, each with what its expression captured


def connects(stage: Stage, name: str, where: str) -> None:
    """A client gets a link; with the first one its session opens."""
    actor = living(stage, where)
    known = stage.clients.get(name) or stage.add_client(name)
    stage.connect(known, actor)


def sends(stage: Stage, name: str, commands: str) -> None:
    """A client sends new commands."""
    client(stage, name).submit(commands.split())


def repeats(stage: Stage, name: str) -> None:
    """A client sends its commands without an answer again."""
    known = client(stage, name)
    if not known.session.unanswered and known.session.id:
        raise ScriptError(f"{name} has all answers: there is nothing to repeat")
    known.session.rewind()
    known.flush()


def times_out(stage: Stage, name: str) -> None:
    """A node scouts."""
    stage.time_out(living(stage, name))


def wait(stage: Stage, ms: str) -> None:
    """All clocks go on."""
    if int(ms) > WAIT_MAX_MS:
        raise ScriptError(f"a wait is at most {WAIT_MAX_MS} ms")
    stage.flow(stage.timeline.now_ns + int(ms) * MS)


def show(stage: Stage, kinds: str) -> None:
    """From now on these kinds are in the trace."""
    unknown = set(kinds.split()) - QUIET
    if unknown:
        raise ScriptError(f"{' '.join(sorted(unknown))}: only {', '.join(sorted(QUIET))} have to be asked for")
    stage.trace.shown |= set(kinds.split())


def hold(stage: Stage, text: str) -> None:
    """From now on messages that match are held."""
    stage.network.add(HELD, pattern(stage, text))


def lose(stage: Stage, text: str) -> None:
    """From now on messages that match are lost."""
    stage.network.add(LOST, pattern(stage, text))


def cut(stage: Stage, name: str) -> None:
    """From now on a node is alone."""
    node(stage, name)
    stage.network.add(LOST, Cut(name, frozenset(stage.actors)))
    stage.trace.say("cut", name, "is cut off")


def heal(stage: Stage, text: str | None) -> None:
    """Rules end: all, or one."""
    was_cut = [rule.node for _, rule in stage.network.rules if isinstance(rule, Cut)]
    stage.network.heal(text or "")
    for name in was_cut:
        if text in (None, name):
            stage.trace.say("cut", name, "is connected again")


def deliver(stage: Stage, text: str) -> None:
    """Held messages arrive."""
    for flight in stage.network.held(pattern(stage, text)):
        stage.release(flight)


def drop(stage: Stage, text: str) -> None:
    """Held messages are lost."""
    for flight in stage.network.held(pattern(stage, text)):
        stage.drop(flight)


def repeat(stage: Stage, text: str) -> None:
    """A message arrives once more."""
    stage.repeat(stage.network.newest(pattern(stage, text)))


def stalls(stage: Stage, name: str) -> None:
    """From now on syncs do not end."""
    node(stage, name).stalled = True


def goes_on(stage: Stage, name: str, how: str) -> None:
    """The sync that waits ends, well or badly, and later ones end well."""
    actor = living(stage, name)
    if not actor.stalled and how == "goes on":
        raise ScriptError(f"{name}'s disk does not stall")
    if how == "fails" and actor.batch is None:
        raise ScriptError(f"{name}'s disk has nothing to sync that could fail")
    actor.stalled = False
    if actor.batch is not None:
        actor.synced(actor.batch, how == "goes on")


def crashes(stage: Stage, name: str) -> None:
    """The process dies."""
    actor = living(stage, name)
    waiting = f": with it goes {contents(actor.batch)}" if actor.batch else ""
    stage.trace.say("crash", name, f"crashes{waiting}")
    stage.kill(actor)


def restarts(stage: Stage, name: str, without: str) -> None:
    """A process from what the disk holds."""
    actor = node(stage, name)
    if actor.core is not None:
        raise ScriptError(f"{name} is up: it has to crash first")
    if without:
        actor.disk = Disk(actor.disk.incarnation + 0x1000)
    actor.stalled = False
    actor.start()
    assert actor.core is not None
    status = actor.core.status()
    state = f"ballot {status['ballot']}, slot_out {status['slot_out']}"
    stage.trace.say("restart", name, f"restarts{' with an empty disk' if without else ''}: {state}")
    link_all(stage, actor)


def link(stage: Stage, a: str, b: str) -> None:
    """Two nodes connect."""
    stage.link(living(stage, a), living(stage, b))


def unlink(stage: Stage, a: str, b: str) -> None:
    """A connection breaks, for both nodes at once."""
    number = stage.link_of(living(stage, a), node(stage, b).name)
    if number is None:
        raise ScriptError(f"{a} and {b} are not linked")
    stage.unlink(node(stage, a), number)


DIRECTIVES: list[tuple[str, Callable[..., None]]] = [
    (r"([a-z]+) connects to (n\d+)", connects),
    (r"([a-z]+) sends (\S+(?: \S+)*)", sends),
    (r"([a-z]+) repeats", repeats),
    (r"(n\d+) times out", times_out),
    (r"wait (\d+) ms", wait),
    (r"show (.+)", show),
    (r"hold (.+)", hold),
    (r"lose (.+)", lose),
    (r"cut (n\d+)", cut),
    (r"heal(?: (.+))?", heal),
    (r"deliver (.+)", deliver),
    (r"drop (.+)", drop),
    (r"repeat (.+)", repeat),
    (r"(n\d+)'s disk stalls", stalls),
    (r"(n\d+)'s disk (goes on|fails)", goes_on),
    (r"(n\d+) crashes", crashes),
    (r"(n\d+) restarts( without its disk)?", restarts),
    (r"link (n\d+) (n\d+)", link),
    (r"unlink (n\d+) (n\d+)", unlink),
]


def perform(stage: Stage, text: str) -> None:
    """Does one directive, and then lets everything flow."""
    for expression, act in DIRECTIVES:
        match = re.fullmatch(expression, text)
        if match is not None:
            stage.next_moment()
            act(stage, *match.groups())
            stage.flow()
            stage.check()
            return
    raise ScriptError(f"unknown directive {text!r}; tests/transcripts/language.py has them all")

"""Whole clusters in one process, on virtual time, under faults. Private: `multipaxos simulate` and the tests use it.

Theory. The core is deterministic and does no IO, so a heap of events, ordered by virtual time, can be its network, its
disks and its clocks. Everything random comes from one seed, so a failing run is a number: the same seed gives the same
run, event by event (FoundationDB and TigerBeetle do the same). Nothing in the core knows that it is simulated.

From the ground up, each file knows only those above it in this list:

- `timeline`: virtual time, what is planned, notes of what happened; `shell`: one wake-up of a core;
- `scenario`: a cluster, a load and how hostile its world is; `drawing`: the scenario of a seed;
- `chance`: the one source of random numbers, what becomes of frames and syncs, and how often each fault took effect;
- `tried_machine`: a user's machine that raises and may differ; `operations`: what clients ask for;
- `disk`; `pipe`, `stream`: one direction of a link with a rate; `network`: links that lose, repeat, delay and break;
  `host`: a process, its disk, its clocks; `clients`: the shipped client session, and the history of its answers;
- `cluster`: all of these together; `link_faults`, `host_faults`, `disk_faults`, `log_faults`, `client_faults`: what
  goes wrong; `intruder`: who sends what no client sends; `adversary`: when all of this happens;
- `world`: assembles a cluster and runs it through its scenario; `report`: says what happened and draws a failure.

Three judges watch from outside: `multipaxos.judges.oracle` every record, frame and applied slot,
`multipaxos.judges.linearizability` the whole history, `multipaxos.judges.cost` what was carried over links with a rate.
"""

"""Whole clusters in one process, on virtual time, under faults.

Theory. The core is deterministic and does no IO, so a heap of events ordered by virtual time can be its network, its
disks and its clocks. Everything random comes from one seed, so a failing run is a number: the same seed gives the same
run, event by event (the way of FoundationDB and TigerBeetle). Nothing of the core knows that it is simulated.

`scenario` makes of a seed what is to be run; `world` runs it: `host` (a process, its disk, its clocks), `network`
(links that lose, repeat, delay and break), `clients` (the shipped client session, and the history of what it was told),
`adversary` (what goes wrong, and when). Two judges look on from outside: `oracle` at every record, frame and applied
slot, `multipaxos.judges.linearizability` at the whole history. `report` says what happened, and draws a failure.
"""

MS = 1_000_000
REPLICA, LEADER, ACCEPTOR = 1, 2, 4
ALL_ROLES = REPLICA | LEADER | ACCEPTOR

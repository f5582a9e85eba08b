"""The executable specification: the pseudo-code of *Paxos Made Moderately Complex* (PMMC) in plain Python.

PMMC: Robbert van Renesse and Deniz Altinbuken, ACM Computing Surveys 47(3), article 42, 2015.

`replica`, `acceptor`, `commander`, `scout` and `leader` are Figures 1, 4, 6(a), 6(b) and 7, to be read side by side
with them: one class per process, one `case` per case, the paper's names. `terms` has the terms that the figures use:
ballots, pvalues, messages, quorums, pmax and the arrow. `network` is the paper's asynchronous network, a bag
of messages. `invariants` judges A1-A5, C1-C2 and R1-R5 after every step.

`amended` and `amended_replica` have the amendments of this project (`docs/design.md`, "The protocol, and what differs
from the paper"): subclasses, one comment per amendment, so that the paper's own text stays as it is. `disk` says when
an answer may leave. `node` joins the roles of one machine.

Nothing here is fast, and nothing imports the library.
"""

"""The paper's cast (compiled): ballots, quorums, slots, pmax, acceptors, leaders, replicas and their sessions.

Private: what users need is in `multipaxos`.
"""

"""Which nodes belong to a cluster (compiled): how its founders find one another.

Private: what users need is in `multipaxos`.
"""

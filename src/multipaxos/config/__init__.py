"""The configuration of a cluster, as a file and as a value.

Private: what users need is in `multipaxos`.
"""

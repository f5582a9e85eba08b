"""Where a node keeps its log: LMDB, or memory.

Private: what users need is in `multipaxos`.
"""

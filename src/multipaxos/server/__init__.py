"""The server: one process that runs a node's core over sockets, a disk and a clock.

Private: what users need is in `multipaxos`.
"""

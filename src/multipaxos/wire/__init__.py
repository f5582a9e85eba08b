"""The bytes between nodes and clients: the Cap'n Proto schema and the compiled codec.

Private: what users need is in `multipaxos`.
"""

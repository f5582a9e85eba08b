"""State machines: the interface for one's own, and the compiled key-value store.

Private: what users need is in `multipaxos`.
"""

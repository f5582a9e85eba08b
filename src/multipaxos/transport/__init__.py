"""Connections between nodes, and from clients: handshakes, frames, back-pressure.

Private: what users need is in `multipaxos`.
"""

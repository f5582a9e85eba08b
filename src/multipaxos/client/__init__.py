"""Clients: the compiled session, the connection below it, `Client` and `BlockingClient` above.

Private: what users need is in `multipaxos`.
"""

"""The command line, `multipaxos`.

Private: what users need is the command itself.
"""

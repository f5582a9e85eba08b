"""What a node did, as a file of JSON lines.

Private: what users need is `multipaxos serve --trace`.
"""

"""A node's core (compiled): joins the paper's cast to links and disk, without doing IO.

Private: what users need is in `multipaxos`.
"""

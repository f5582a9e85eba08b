"""The load generator: compiled load and histograms, the records of its operations, and the front that runs it.

Private: what users need is in `multipaxos` and in `multipaxos bench`.
"""

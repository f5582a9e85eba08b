"""Judges of a run: an oracle over disks and frames, and linearizability of a history.

Private: the simulator and the torture test use them.
"""

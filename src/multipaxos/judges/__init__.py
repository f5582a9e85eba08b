"""Judges of a run. Private: the simulator and the torture test use them.

`oracle` watches disks, frames and applied slots, and reads disks through `disks`; it counts by `quorums` and judges
sessions by `session_model`. `linearizability` judges a history. Both raise or report a `violation`.
"""

"""Judges of a run. Private: the simulator and the torture test use them.

`oracle` watches messages, processes and disks, which it reads through `disks`; it counts by `quorums` and judges
sessions by `session_model`. `linearizability` judges a `history`: `search` looks for an order of the operations on
`one_key` and `store`, and `smallest` makes a failing history small. The oracle raises a `violation`.
"""

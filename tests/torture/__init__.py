"""The torture test: a cluster of real processes on real disks, its clients, and every fault that it must survive.

`python -m tests.torture --duration 600`, or `make torture DURATION=600`; `run` says what happens in which order.

| file | idea |
| --- | --- |
| `network` | links that can be cut: a proxy between the nodes, and before them |
| `faults` | the plan of a seed; SIGKILL, SIGSTOP, cuts, resets; faults that took effect are counted |
| `workload` | concurrent clients, the history of their operations, keys that change with time |
| `judge` | is there an order of the operations that explains the history? |
| `node` | a node's process, which leaves a file of its events |
| `run` | one torture from beginning to end, and its verdict |
"""

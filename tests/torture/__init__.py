"""The torture test: a cluster of real processes on real disks, its clients, and everything that can happen to them.

`python -m tests.torture --duration 600`, or `make torture DURATION=600`; see `play` for the story that is told.

| file | idea |
| --- | --- |
| `network` | links that can be cut: a proxy between the nodes, and before them |
| `faults` | the plan of a seed; SIGKILL, SIGSTOP, cuts, resets; what really took effect is counted |
| `workload` | concurrent clients, the history of what they were told, keys that change with time |
| `judge` | is there an order that explains the history? |
| `play` | all of it together, and the verdict |
"""

"""End-to-end experiments in Mininet: system x topology x workload x faults -> one run -> raw records -> analysis.

Theory. A *system* is anything that replicates writes. A *topology* is a network that is built for one run and taken
down after it. A *workload* says what clients ask for; *faults* say what goes wrong, and when. Together they are a
`Spec`, the point of an experiment. `run` carries out one repetition of a spec and leaves a folder of raw records; it
draws nothing. The analysis reads such folders and nothing else, so it can be repeated at any time, on any machine.

The floors; a module imports only from floors below its own, or from modules that stand before it on its own floor:

| floor | modules |
| --- | --- |
| 5 | `evaluate.py`, the command line |
| 4 | `experiments`, one module each: its points, its figures, its words |
| 3 | `campaign`: which runs, in what order, which of them are there already |
| 2 | `run`: one run; `report`, `curves`: tables, figures and text of an experiment |
| 1 | `host`, `measure`, `shaping`, `network`, `processes`, `faults`; `usage`, `provenance` |
| 1 | `log_check`, `libpaxos_log`, `systems` |
| 1 | `estimates`, `series`, `runs`, `tables`, `figures`; `trace_merge`; `etcd_load` |
| 0 | `discovery`, `model`, `records`, `errors`, `machine`, `namespaces`, `filters`, `delay` |

Rules. Each run has a fresh network. A network that is not as asked, a fault that did not take effect, or a log that
lost an acknowledged write is refused or reported, never averaged away. All times are of one clock,
CLOCK_MONOTONIC of the machine, which all hosts share. This folder's parent has no `__init__.py`: it would hide the
package mininet.
"""

# What scouts and commanders report to their leader: the paper's messages `adopted`, `preempted` and, for a slot,
# `decision`. Each is the value that their handler of a message returns; leader.pyx says when it is acted upon.
cdef enum Verdict:
    NOTHING = 0                      # no quorum is complete yet, or the message does not count
    ADOPTED = 1                      # the scout's ballot has its phase-1 quorum
    PREEMPTED = 2                    # by the ballot of the message that was handled
    DECIDED = 3                      # decided_end of the commanders has risen
    MALFORMED = 4                    # the bytes of the message are not what its kind requires

cdef inline str verdict_name(int verdict):
    """For tests."""
    return ("nothing", "adopted", "preempted", "decided", "malformed")[verdict]

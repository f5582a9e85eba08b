"""Ballots as Python sees them.

Theory. A ballot is a pair (round, leader), ordered by round and then by leader (PMMC 2.2). It is sent, stored and
compared as one 64-bit integer, `round << 24 | leader`: 40 bits of round and 24 of leader. So comparing ballots is
comparing integers, no two leaders ever share a ballot, and `BOTTOM` = 0 is below every ballot that a leader makes,
because rounds start at 1.

Rules. The core uses the inline functions of ballot.pxd, which trust their arguments. The functions here check theirs.
"""

globals().update(ROUND_MAX=ROUND_MAX)    # a plain assignment would be to the C constant of that name


cdef object _within(str what, object value, object lowest, object highest):
    """`value` if it is an int in [lowest, highest]; else TypeError or ValueError, naming `what`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ValueError(f"{what} {value} is out of range: it must be {lowest} to {highest}")
    return value


def make(round, leader):
    """The ballot (round, leader): `round` is 1 to ROUND_MAX, `leader` 0 to LEADER_MAX. Raises TypeError, ValueError."""
    return ballot_of(_within("round", round, 1, ROUND_MAX), _within("leader", leader, 0, LEADER_MAX))


def round_of(ballot):
    """The round of `ballot`; 0 of BOTTOM."""
    return ballot_round(_checked(ballot))


def leader_of(ballot):
    """The node id of the leader that `ballot` belongs to. BOTTOM belongs to none: ValueError."""
    if _checked(ballot) == BOTTOM:
        raise ValueError("the bottom ballot belongs to no leader: compare with BOTTOM first")
    return ballot_leader(ballot)


def compare(left, right):
    """-1, 0 or 1 as `left` is below, equal to or above `right`."""
    left, right = _checked(left), _checked(right)
    return (left > right) - (left < right)


def describe(ballot):
    """As text: "5.2" for round 5 of leader 2, "⊥" for BOTTOM."""
    if _checked(ballot) == BOTTOM:
        return "⊥"
    return f"{ballot_round(ballot)}.{ballot_leader(ballot)}"


cdef object _checked(object ballot):
    """`ballot` if it is BOTTOM or a ballot that `make` makes; else TypeError or ValueError."""
    _within("ballot", ballot, 0, 0xffff_ffff_ffff_ffff)
    if ballot != BOTTOM and ballot_round(ballot) == 0:
        raise ValueError(f"ballot {ballot} has round 0, which no leader uses: use make(round, leader)")
    return ballot

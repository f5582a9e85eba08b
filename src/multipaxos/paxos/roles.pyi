REPLICA: int
LEADER: int
ACCEPTOR: int
ALL_ROLES: int
ROLE_BITS: dict[str, int]

@0xb5f1c7a2d94e8036;
# The one schema of multipaxos: the messages between nodes, and between clients and nodes.
# Every message is sent as one Cap'n Proto stream frame over TCP. Names are those of "Paxos Made
# Moderately Complex" (PMMC). Slots start at 1. A ballot is (round << 24) | leader; 0 is bottom.
# `end` is always exclusive. Times are nanoseconds of UTC.

struct Message {
  union {
    hello @0 :Hello;               # first frame of every link, in both directions
    phase1a @1 :Phase1a;           # scout -> acceptor
    phase1b @2 :Phase1b;           # acceptor -> scout
    phase2a @3 :Phase2a;           # commander -> acceptor, and to every replica as a learner
    phase2b @4 :Phase2b;           # acceptor -> commander
    decision @5 :Decision;         # leader -> replica
    fetch @6 :Fetch;               # a node that lacks decisions -> any node
    fetched @7 :Fetched;           # the answer
    ping @8 :Ping;                 # any node -> the leader it believes in
    pong @9 :Pong;                 # the answer
    founding @10 :Founding;        # node -> node while one of them does not vote
    request @11 :Request;          # client -> replica; replica -> the active leader's replica
    response @12 :Response;        # replica -> client
    leading @13 :Leading;          # replica -> client: the ballot of the leader to connect to
    statusRequest @14 :StatusRequest;
    statusReply @15 :StatusReply;
    piece @16 :Piece;               # node -> node: a part of a longer frame
  }
}

enum LinkKind { peer @0; client @1; admin @2; }

struct Hello {
  cluster @0 :Text;                # name of the cluster
  configuration @1 :UInt64;        # digest of nodes, roles, quorum system and WINDOW; 0 from and to a client
  node @2 :Int32;                  # the sender; -1 is a client
  target @3 :Int32;                # the node that the sender wants to reach; -1 is any node
  incarnation @4 :UInt64;          # of the sender's data directory; 0 from and to a client
  versionMin @5 :UInt16;           # protocol versions that the sender knows
  versionMax @6 :UInt16;
  kind @7 :LinkKind;
  nonce @8 :UInt64;                # the receiver repeats it in `echo`, which proves that it is alive
  echo @9 :UInt64;                 # the other side's nonce; 0 in the first hello
  refusal @10 :Text;               # why the sender closes the link; empty if it does not
  clusterId @11 :UInt64;           # of the founders' list; 0: the sender has none yet, or is a client
  process @12 :UInt64;             # random, drawn when the sender's process started; 0 from a client
  semanticsMin @13 :UInt16;        # versions of the log's semantics that the sender knows
  semanticsMax @14 :UInt16;
  python @15 :UInt16;              # (major << 8) | minor where a user's machine runs, else 0
  mixedPython @16 :Bool;           # the sender accepts peers with another `python`
  proof @17 :Data;                 # that the sender has the cluster's key; empty from and to a client
  refusedSlots @18 :List(UInt64);  # whose commands the operator has refused
  machineVersion @19 :UInt32;      # of the machine that the sender runs
}

enum CommandKind {
  noop @0;                         # fills a gap; all other fields 0
  apply @1;                        # payload is for the state machine
  openSession @2;                  # sequence is a nonce; the answer's session is the new id
  reconfigure @3;                  # reserved: nobody sends it; applied it does nothing
  closeSession @4;                 # ends the session
  setting @5;                      # payload is a name (UInt16) and a value (UInt64); from admin links only
}

struct Command {
  session @0 :UInt64;              # id of the client session: the slot that opened it
  sequence @1 :UInt64;             # 1, 2, 3, ... in the session
  kind @2 :CommandKind;
  nonce @3 :UInt16;                # index in the frame's `nonces` of the session's nonce; none there: 0, of no session
  unacknowledged @4 :UInt32;       # answers up to sequence - unacknowledged - 1 need no longer be kept
  payload @5 :Data;
}

struct Pvalues {                   # the slots [first, end) of a run; `run` is its phase2a frame, as it was sent
  first @0 :UInt64;
  end @1 :UInt64;
  run @2 :Data;
}

struct Phase1a {
  ballot @0 :UInt64;
  first @1 :UInt64;                # the lowest slot whose pvalues are wanted
  part @2 :UInt64;                 # the first slot of the part that is asked for; below `first`: the first part
}

struct Phase1b {                   # one part; the scout asks for the next one
  ballot @0 :UInt64;               # the acceptor's ballot_num
  first @1 :UInt64;                # this part has every pvalue of [first, end); in a refusal first = end = 2**64-1
  end @2 :UInt64;                  # 2**64-1 in the last part
  mark @3 :UInt64;                 # all slots below are decided, and the acceptor has forgotten them
  pvalues @4 :List(Pvalues);
}

struct Phase2a {
  ballot @0 :UInt64;
  first @1 :UInt64;                # slot of the first command; the others follow without gaps
  timeNs @2 :UInt64;               # of every pvalue in the run
  decidedBallot @3 :UInt64;        # watermark: [decidedFirst, decidedEnd) is decided at decidedBallot,
  decidedFirst @4 :UInt64;         # and so is everything below decidedFirst (at some ballot)
  decidedEnd @5 :UInt64;
  commands @6 :List(Command);
  nonces @7 :List(UInt64);         # of the commands' sessions, no more than commands
}

struct Phase2b {
  ballot @0 :UInt64;               # at which the run was accepted, or the acceptor's greater ballot_num
  first @1 :UInt64;                # [first, end) was accepted; empty if nothing was
  end @2 :UInt64;
  mark @3 :UInt64;
}

struct Decision { ballot @0 :UInt64; first @1 :UInt64; end @2 :UInt64; }   # the watermark, on its own
struct Fetch { first @0 :UInt64; end @1 :UInt64; }

struct Fetched {                   # decided pvalues of [first, end), each at a ballot no lower than one that decided it
  first @0 :UInt64;
  end @1 :UInt64;                  # less than asked if the answer was cut, or if the sender does not know the rest
  mark @2 :UInt64;
  pvalues @3 :List(Pvalues);
}

struct Ping {
  ballot @0 :UInt64;               # the sender's ballot_num
  nonce @1 :UInt64;
  slotOut @2 :UInt64;
  voting @3 :Bool;
  stateSlot @4 :UInt64;            # the newest slot at which the sender's state was hashed; 0: none
  stateHash @5 :UInt64;
  processes @6 :List(UInt64);      # by node id: the process number of the peer that is linked now; 0: none
}

struct Pong {
  ballot @0 :UInt64;               # the sender's own ballot while it leads, else the highest that it knows
  nonce @1 :UInt64;
  slotOut @2 :UInt64;
  leading @3 :Bool;                # the sender leads at this ballot
  quorum @4 :Bool;                 # and it heard a phase-2 quorum at this ballot within the last time-out
  decidedBallot @5 :UInt64;        # its watermark, as in Phase2a
  decidedFirst @6 :UInt64;
  decidedEnd @7 :UInt64;
  missing @8 :UInt64;              # from here on the sender dropped pvalues for want of room, and has room now; 0: none
}

struct Founding {
  incarnation @0 :UInt64;          # of the sender
  fresh @1 :Bool;                  # the sender has no voter record and has promised nothing
  incarnations @2 :List(UInt64);   # by node id: the founders, or if fresh those that the sender has heard of (0: none)
}

struct Request { commands @0 :List(Command); nonces @1 :List(UInt64); }   # nonces: as in Phase2a

enum ReplyStatus {
  ok @0;                           # data is the machine's answer
  refused @1;                      # the machine raised: data is the error as UTF-8
  opened @2;                       # session is open; sequence repeats the nonce
  ahead @3;                        # not applied: send again from the first command without an answer
  expired @4;                      # there is no such session, or no longer
  overloaded @5;                   # not applied, because too much is unacknowledged: acknowledge and send again
  acknowledged @6;                 # applied before; the answer is gone because it was acknowledged
}

struct Reply {
  sequence @0 :UInt64;
  slot @1 :UInt64;                 # at which the command took effect
  status @2 :ReplyStatus;
  data @3 :Data;
}

struct Response { session @0 :UInt64; replies @1 :List(Reply); }
struct Leading { ballot @0 :UInt64; }
struct StatusRequest { nonce @0 :UInt64; }
struct StatusReply { nonce @0 :UInt64; json @1 :Text; }

struct Piece {                     # the pieces of one frame come in order; other frames may come between them
  left @0 :UInt32;                 # bytes of the frame that come in later pieces
  data @1 :Data;
}

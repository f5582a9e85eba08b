"""Changing: may a setting that an admin asks for be decided?

Theory. A node stops when a number is decided that it does not know (`paxos.settings`). So the node that an admin asks
refuses the setting unless every node is linked with it now and told in its hello that it knows the number.

Rules.
- This check is made when the admin asks, and it is for the operator's good. Safety does not rest on it: a node that was
  replaced by an older one since then stops by itself, and applies nothing wrongly.
- Only replicas have a machine, so only replicas are asked for its version. Every node is asked for semantics.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.roles cimport REPLICA
from multipaxos.paxos.settings cimport (
    MACHINE_VERSION, MACHINE_VERSION_MAX, SEMANTICS, Setting, Settings, setting_read,
)
from multipaxos.wire.messages cimport SETTING, Command, Commands
from multipaxos.wire.reading cimport command_at


@cython.final
cdef class Changing:

    def __cinit__(self, Context context not None, Links links not None, Replica replica not None):
        self.context = context
        self.links = links
        self.replica = replica

    cdef bytes judge(self, const Commands* commands):
        """Why the settings among these commands are refused; empty if they may be decided."""
        cdef Command command
        cdef uint32_t i
        for i in range(commands.items.count):
            command_at(commands, i, &command)
            if command.kind == SETTING:
                reason = self.judge_one(&command)
                if reason:
                    return reason.encode()
        return b""

    cdef str judge_one(self, const Command* command):
        cdef Settings settings = self.replica.settings
        cdef Setting setting
        cdef uint64_t present, known
        if not setting_read(command.payload, command.size, &setting):
            return "this is no setting"
        if setting.name == SEMANTICS:
            what, present, known = "semantics", settings.semantics, settings.semantics_known
        elif setting.name == MACHINE_VERSION:
            what, present, known = "machine version", settings.machine_version, settings.machine_known
        else:
            return f"there is no setting {setting.name}"
        if not 0 < setting.value <= MACHINE_VERSION_MAX:
            return f"{what} {setting.value} is none: numbers from 1 to {<uint64_t>MACHINE_VERSION_MAX} are"
        if setting.value < present:
            return f"{what} {present} is in force, and it never goes down"
        if setting.value > known:
            return f"node {self.context.node_id} knows {what} {known} at most: start it with newer code first"
        return self.judge_known(&setting, what)

    cdef str judge_known(self, const Setting* setting, str what):
        """Does every other node know the number?"""
        cdef Link link
        cdef uint64_t known
        cdef int i
        for i in range(self.context.nodes):
            if i == self.context.node_id or (setting.name == MACHINE_VERSION and not self.context.roles[i] & REPLICA):
                continue
            link = self.links.peers[i]
            if link is None:
                return (f"node {i} is not linked with node {self.context.node_id}: all nodes have to be up and know "
                        f"{what} {setting.value}, or they would stop")
            known = link.semantics_max if setting.name == SEMANTICS else link.machine_version
            if known < setting.value:
                return f"node {i} knows {what} {known} at most: start it with newer code first"
        return ""

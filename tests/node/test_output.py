"""Outputs: what a shell that is tested alone is given in place of a core's."""

from __future__ import annotations

from multipaxos.node.output import ApplyJob, Batch, Event, Output, Read


def test_an_output_that_is_made_has_what_it_was_made_of() -> None:
    batch, job = Batch(1, {}, b""), ApplyJob(3, [], 0)
    reads, events = [Read(2, 1, 5, 10)], [Event("a", 0, 0, "b")]
    output = Output([(5, b"frame")], batch, reads, [(9, "why")], events, [(6, 7)], "broken", job)
    assert (output.writes, output.closes, output.status_requests) == ([(5, b"frame")], [(9, "why")], [(6, 7)])
    assert (output.reads, output.events, output.failed) == (reads, events, "broken")
    assert output.batch is batch
    assert output.job is job


def test_an_output_has_no_job_unless_it_is_given_one() -> None:
    output = Output([], None, [], [], [], [], "")
    assert output.job is None
    assert output.batch is None

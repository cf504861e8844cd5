"""Whatever happens to frames, the books balance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kosmos2_ros.books import MAX_REASONS, OTHER, Books, Outcome
from kosmos2_ros.mailbox import Frame, Mailbox

DONE = [one for one in Outcome if one not in (Outcome.REPLACED, Outcome.REJECTED)]
EVENTS = st.lists(st.sampled_from(["put", "reject", "take", "clear", *DONE]))


@given(EVENTS)
def test_they_balance_after_every_event(events):
    mailbox, taken = Mailbox(), []
    for event in events:
        if event == "put":
            mailbox.put(Frame("left", None, 1))
        elif event == "reject":
            mailbox.reject("empty")
        elif event == "clear":
            mailbox.clear()
        elif event == "take":
            if frame := mailbox.take():
                taken.append(frame)
        elif taken:
            taken.pop()
            mailbox.books.settle(event)
        books = mailbox.books.snapshot()
        assert books.residual == 0
        assert books.in_flight == len(taken) + mailbox.waiting


def test_a_stranger_s_reasons_do_not_fill_the_memory():
    books = Books()
    for number in range(10 * MAX_REASONS):
        books.receive()
        books.settle(Outcome.REJECTED, f"the encoding {number} is not known.")
    reasons = books.snapshot().reasons
    assert len(reasons) == MAX_REASONS + 1
    assert reasons[OTHER] == 9 * MAX_REASONS

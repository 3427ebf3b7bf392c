"""What the client decides is what the tables of docs/ say."""

import re
from pathlib import Path

import pytest

from fanfare_client.client.backoff import BACKOFF_FIRST, BACKOFF_MAX, HINT_MAX, Backoff
from fanfare_client.client.decisions import SENT_AGAIN, Decision, of_close, of_status, remedy_of

DOCS = Path(__file__).parents[3] / "docs"


def table(page, heading):
    """The rows of the first table below a heading."""
    text = (DOCS / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def decision_of(advice):
    """What a row's advice means for a client."""
    advice = advice.lower()
    if "new token" in advice or advice.startswith("with a token") or advice.startswith("with a valid token"):
        return Decision.NEW_TOKEN
    if advice.startswith(("yes", "as you like", "later", "after a minute", "after `retry-after`")):
        return Decision.RETRY
    if advice.startswith(("no", "after a fix")):
        return Decision.GIVE_UP
    raise AssertionError(f"what does {advice!r} mean?")


def test_close_codes_are_those_of_the_documentation():
    rows = table("clients.md", "Close codes")
    assert len(rows) >= 20
    for code, reason, advice in rows:
        assert of_close(int(code), reason) is decision_of(advice), (code, reason, advice)
    # An application's own codes, and those of a later gateway.
    assert of_close(4000, "used elsewhere") is Decision.RETRY
    assert of_close(1008, "something new") is Decision.GIVE_UP


def test_close_codes_of_the_protocol_agree():
    text = (DOCS / "protocol.md").read_text().split("| close code | why | reconnect? |\n")[1].split("\n\n")[0]
    for line in text.splitlines()[1:]:
        codes, _, advice = (cell.strip() for cell in line.strip("|").split("|"))
        for code in map(int, codes.split(", ")):
            # 1008 goes by its reason, 1000 is the client's own, and 1009 costs the message that was too large.
            if code not in (1000, 1008, 1009):
                expected = Decision.NEW_TOKEN if advice == "with a new token" else decision_of(advice)
                assert of_close(code, "") is expected, (code, advice)


def test_statuses_are_those_of_the_documentation():
    for statuses, _, advice in table("clients.md", "Refusals before the upgrade"):
        for status in map(int, statuses.split(", ")):
            assert of_status(status) is decision_of(advice), (status, advice)
    for status in (200, 302, 500, 502, 504):
        assert of_status(status) is Decision.RETRY


def test_errors_are_those_of_the_documentation():
    text = (DOCS / "protocol.md").read_text().split("| code | when | again? |\n")[1].split("\n\n")[0]
    seen = set()
    for line in text.splitlines()[1:]:
        codes, _, again = (cell.strip() for cell in line.strip("|").split(" | "))
        for code in re.findall(r"`([A-Z_]+)`", codes):
            seen.add(code)
            if code in ("FORBIDDEN", "PERMISSION_DENIED", "AUTHENTICATION_FAILED"):
                assert remedy_of(code) == "token"
            elif again == "no" or code == "SUBSCRIPTION_LIMIT":
                assert remedy_of(code) == "fix", code
            else:
                assert remedy_of(code) == "retry", code
            if "details.retry_after" in again or again == "in a moment":
                assert code in SENT_AGAIN, code
    assert len(seen) >= 15 and SENT_AGAIN <= seen


def test_pauses_are_random_up_to_a_bound_that_doubles():
    longest = Backoff(uniform=lambda low, high: high)
    assert [longest.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 20, 20]
    longest.reset()
    assert longest.next() == BACKOFF_FIRST == 0.5 and BACKOFF_MAX == 20
    shortest = Backoff(uniform=lambda low, high: low)
    assert [shortest.next(), shortest.next(7), shortest.next(1e9)] == [0, 7, HINT_MAX]


@pytest.mark.parametrize("attempts", [10_000])
def test_many_attempts_do_not_overflow(attempts):
    backoff = Backoff()
    assert all(0 <= backoff.next() <= BACKOFF_MAX for _ in range(attempts))

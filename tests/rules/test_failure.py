"""What becomes of what has failed: the table, line by line."""

from __future__ import annotations

from itertools import product

import pytest
import trio

from runnel_trio import ExceptionPolicy, LeaseLost
from runnel_trio._rules._failure import Decision, Leave, Retry, SetAside, decide

HALT, IGNORE, QUARANTINE = ExceptionPolicy.HALT, ExceptionPolicy.IGNORE, ExceptionPolicy.QUARANTINE
RETRY, ASIDE = Retry(1.0), SetAside(lambda: ())
PROPOSED = [None, RETRY, ASIDE, *ExceptionPolicy]
ANYTHING = list(product(ExceptionPolicy, PROPOSED, [False, True], [False, True]))


def decision(error: BaseException, **state: object) -> Decision:
    usual = {"given_up": False, "cancelled": False, "in_hand": True, "proposed": None, "policy": HALT}
    return decide(error, **usual | state)  # type: ignore[arg-type]


@pytest.mark.parametrize(("policy", "proposed", "cancelled", "in_hand"), ANYTHING)
def test_what_no_policy_is_for_halts_whatever_anybody_says(
    policy: ExceptionPolicy, proposed: Decision | None, cancelled: bool, in_hand: bool
) -> None:
    state = {"policy": policy, "proposed": proposed, "cancelled": cancelled, "in_hand": in_hand}
    for error in (SystemExit(), KeyboardInterrupt(), GeneratorExit(), BaseExceptionGroup("", [SystemExit()])):
        assert decision(error, **state) is HALT


@pytest.mark.parametrize(("policy", "proposed", "cancelled", "in_hand"), ANYTHING)
def test_a_partition_that_is_given_up_leaves_its_events(
    policy: ExceptionPolicy, proposed: Decision | None, cancelled: bool, in_hand: bool
) -> None:
    state = {"policy": policy, "proposed": proposed, "cancelled": cancelled, "in_hand": in_hand}
    for error in (LeaseLost(1, 2), trio.TooSlowError()):
        assert decision(error, given_up=True, **state) == Leave()


@pytest.mark.parametrize("policy", ExceptionPolicy)
@pytest.mark.parametrize("proposed", PROPOSED)
def test_an_exception_of_events_goes_by_the_rule_and_then_by_the_policy(
    policy: ExceptionPolicy, proposed: Decision | None
) -> None:
    assert decision(ValueError(), policy=policy, proposed=proposed) == (
        policy if proposed is None else proposed
    )


@pytest.mark.parametrize("policy", ExceptionPolicy)
def test_an_exception_that_no_event_can_be_blamed_for_halts(policy: ExceptionPolicy) -> None:
    assert decision(ValueError(), policy=policy, in_hand=False) is HALT


@pytest.mark.parametrize("in_hand", [False, True])
@pytest.mark.parametrize("policy", ExceptionPolicy)
@pytest.mark.parametrize("proposed", PROPOSED)
def test_on_the_way_out_of_a_cancellation_events_are_left_unless_the_worker_halts(
    policy: ExceptionPolicy, proposed: Decision | None, in_hand: bool
) -> None:
    otherwise = policy if proposed is None else proposed
    wanted = HALT if otherwise is HALT else Leave()
    assert decision(ValueError(), policy=policy, proposed=proposed, cancelled=True, in_hand=in_hand) == wanted

"""A server, and how long hypothesis looks: a moment in the suite, and as long as ``nox -s fuzz`` is given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from runnel_trio._embedded._server import start

#: Seconds for all tests of this folder together.
SECONDS = float(os.environ.get("RUNNEL_FUZZ_SECONDS", "0"))
#: Examples that each of them tries at least.
EXAMPLES = 25

hypothesis.settings.register_profile(
    "hostile",
    max_examples=1000 if SECONDS else EXAMPLES,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)

Look = Callable[[Callable[[], None]], None]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server."""
    running = start("embedded://")
    yield running.url
    running.stop()


@pytest.fixture
def look(request: pytest.FixtureRequest) -> Look:
    """Run a test of hypothesis, and again and again with other examples while there is time."""
    fuzzing = [x for x in request.session.items if "look" in getattr(x, "fixturenames", ())]

    def run(test: Callable[[], None]) -> None:
        end = time.monotonic() + SECONDS / len(fuzzing)
        hypothesis.settings(hypothesis.settings.get_profile("hostile"))(test)()
        while time.monotonic() < end:
            test()

    return run

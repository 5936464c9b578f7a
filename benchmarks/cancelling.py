"""Time until a restoration to 4096 pixels stops, cancelled at moments spread over its duration.

python -m benchmarks.cancelling
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from agent.run import restore_file
from benchmarks.agent_time import EXAMPLE
from benchmarks.report import reported
from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from profiles.loading import load_profile
from toolbox.pool import ExpertPool


@reported("cancelling", "Time until a cancelled restoration stops", preformatted=True)
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, default=EXAMPLE)
    parser.add_argument("--moments", type=int, default=16)
    arguments = parser.parse_args()
    experts = ExpertPool()
    whole, _ = stopped(arguments.image, experts, after=None)
    delays = []
    for number in range(arguments.moments):
        moment = whole * (number + 0.5) / arguments.moments
        _, delay = stopped(arguments.image, experts, moment)
        if delay is not None:
            delays.append(delay)
            print(f"cancelled after {moment:5.2f} s of {whole:.2f} s: stopped {delay:.2f} s later")
    print(f"longest {max(delays):.2f} s, mean {sum(delays) / len(delays):.2f} s of {len(delays)}")


def stopped(image: Path, experts: ExpertPool, after: float | None) -> tuple[float, float | None]:
    """Seconds of the run, and from cancelling to its end; None instead if it had finished by then."""
    token = ProgressToken()
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.perf_counter())
        token.cancel()

    timer = threading.Timer(after or 3600, cancel)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        timer.start()
        try:
            restore_file(
                image,
                Path(folder) / "out.png",
                load_profile("default"),
                runs=Path(folder) / "runs",
                experts=experts,
                token=token,
            )
        except Cancelled:
            return time.perf_counter() - started, time.perf_counter() - cancelled_at[0]
        finally:
            timer.cancel()
        return time.perf_counter() - started, None


if __name__ == "__main__":
    main()

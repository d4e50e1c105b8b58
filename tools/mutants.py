"""Puts small faults into the pure modules, one at a time, and says which of them no test notices (cosmic-ray).

    make mutants                                 every module below, an hour at most
    make mutants MODULES="common/state encode/timeline" those
    make mutants MINUTES=10 SHARE=0.1 SEED=7     shorter: a random tenth of the faults, the same for the same seed

Each fault is put into a copy of the tree, never into the tree itself; modules are tried side by side, one per core.
Only the fast tests that stand beside a module are asked. What survived stands in build/mutants/report.txt with its
change; docs/reliability.md says why those that remain change nothing that matters.

Runs with the Python of build/mutants/venv, which has cosmic-ray.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "mutants"
PYTHON = ROOT / ".venv" / "bin" / "python"

# Module -> the tests that are asked, each a file or "file -k expression".
MODULES = {
    "common/state": "test_state.py",
    "common/mime": "test_mime.py",
    "caller/options": "test_conformance.py test_behaviour_sync.py -k 'options or bitrates or refused or supported'",
    "caller/events": "test_event_types.py -k 'not checker'",
    "wire/flow": "test_flow.py",
    "wire/messages": "test_messages.py",
    "encode/scheduler": "test_scheduler.py",
    "encode/timeline": "test_timeline.py test_time_stamps.py test_drift.py -k 'not ten_hours'",
    "encode/drift": "test_timeline.py test_drift.py -k 'not ten_hours'",
    "encode/clock": "test_frame_clock.py",
    "mux/matroska": "test_mux.py",
    "mux/ogg": "test_mux.py",
    "mux/muxer": "test_mux.py",
    "mux/recover": "test_recover.py",
    "mux/recover_matroska": "test_recover.py",
    "mux/recover_ogg": "test_recover.py",
    "capture/clock": "test_capture_clock.py",
    "capture/delivery": "test_capture_delivery.py",
    "common/constraints": "test_capture_source.py",
    "common/redact": "test_redact.py",
    "caller/blob": "test_blob.py",
}

# The faults that are tried: what people get wrong. The tool knows each operator's every replacement, and replaces the
# `|` of types as well; that would be many times as many, which the same tests notice or nobody can.
_NAMES = """
AddNot ReplaceAndWithOr ReplaceOrWithAnd ReplaceTrueWithFalse ReplaceFalseWithTrue NumberReplacer
ReplaceBreakWithContinue ReplaceContinueWithBreak ZeroIterationForLoop ExceptionReplacer
ReplaceUnaryOperator_USub_UAdd ReplaceUnaryOperator_Delete_USub ReplaceUnaryOperator_Delete_Not
ReplaceComparisonOperator_Eq_NotEq ReplaceComparisonOperator_NotEq_Eq ReplaceComparisonOperator_Lt_LtE
ReplaceComparisonOperator_Lt_GtE ReplaceComparisonOperator_LtE_Lt ReplaceComparisonOperator_LtE_Gt
ReplaceComparisonOperator_Gt_GtE ReplaceComparisonOperator_Gt_LtE ReplaceComparisonOperator_GtE_Gt
ReplaceComparisonOperator_GtE_Lt ReplaceComparisonOperator_Is_IsNot ReplaceComparisonOperator_IsNot_Is
ReplaceBinaryOperator_Add_Sub ReplaceBinaryOperator_Sub_Add ReplaceBinaryOperator_Mul_FloorDiv
ReplaceBinaryOperator_Div_Mul ReplaceBinaryOperator_FloorDiv_Mul ReplaceBinaryOperator_Mod_FloorDiv
ReplaceBinaryOperator_LShift_RShift ReplaceBinaryOperator_RShift_LShift ReplaceBinaryOperator_BitAnd_BitOr
"""
OPERATORS = {f"core/{name}" for name in _NAMES.split()}

# Plugins that these tests do not need take most of the time of a trial; Hypothesis works without its own.
WITHOUT = " ".join(f"-p no:{plugin}" for plugin in ("cacheprovider", "xdist", "benchmark", "hypothesispytest"))

# An editable installation finds the tree itself before anything on the path; in a copy it must not.
SITE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "skbc" not in type(finder).__module__]
"""

CONFIGURATION = """
[cosmic-ray]
module-path = "recsvc/{module}.py"
timeout = {timeout_s:.1f}
excluded-modules = []
test-command = {command}
distributor.name = "local"
"""


class Tree:
    """A copy of what the tests need."""

    def __init__(self, number: int) -> None:
        self.path = PLACE / f"tree{number}"
        shutil.rmtree(self.path, ignore_errors=True)
        no_code = shutil.ignore_patterns("__pycache__")
        for name in ("recsvc", "tests", "tools", "docs", "native"):
            shutil.copytree(ROOT / name, self.path / name, ignore=no_code)
        for name in ("pyproject.toml", "README.md", "Makefile", "CHANGELOG.md"):
            shutil.copy(ROOT / name, self.path)
        [core] = (ROOT / ".venv").glob("lib/python3*/site-packages/recsvc/encode/_native*.so")
        shutil.copy(core, self.path / "recsvc/encode")
        (self.path / "sitecustomize.py").write_text(SITE)
        # Compiled code is usually told from newer source by the second, and faults follow each other faster.
        compiling = [PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", self.path / "recsvc"]
        subprocess.run(compiling, check=True)
        self.environment = os.environ | {"PYTHONPATH": str(self.path)}

    def run(self, command: str, limit_s: float, **environment: str) -> int:
        """The command's exit code; ``-1`` when it was ended at the limit, with all it had started."""
        with subprocess.Popen(
            command,
            shell=True,
            cwd=self.path,
            env=self.environment | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                return process.wait(max(limit_s, 0))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return -1


class Trial:
    """One module's faults and what became of them."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.session = PLACE / f"{module.replace('/', '_')}.sqlite"
        self.configuration = self.session.with_suffix(".toml")
        self.outcomes: Counter[str] = Counter()
        self.survivors: list[str] = []
        self.problem = ""

    def run(self, tree: Tree, share: float, seed: int, end_s: float) -> None:
        tests = " ".join(f"tests/{word}" if word.endswith(".py") else word for word in MODULES[self.module].split(" "))
        command = f"{PYTHON} -m pytest -x -q {WITHOUT} {tests}"
        began_s = time.monotonic()
        if tree.run(command, end_s - time.monotonic()) != 0:
            self.problem = f"the tests fail without a fault: {command}"
            return
        timeout_s = 5 + 4 * (time.monotonic() - began_s)
        self.configuration.write_text(
            CONFIGURATION.format(module=self.module, timeout_s=timeout_s, command=json.dumps(command))
        )
        self.session.unlink(missing_ok=True)
        tool = f"{sys.executable} -m cosmic_ray.cli"
        if tree.run(f"{tool} init {self.configuration} {self.session}", 60) != 0:
            self.problem = "cosmic-ray could not read it"
            return
        left_out = WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output="not chosen")
        chance = random.Random(f"{seed} {self.module}")
        with use_db(self.session, WorkDB.Mode.open) as session:
            for item in list(session.pending_work_items):
                if item.mutations[0].operator_name not in OPERATORS or chance.random() >= share:
                    session.set_result(item.job_id, left_out)
        limit_s = end_s - time.monotonic()
        tree.run(f"{tool} exec {self.configuration} {self.session}", limit_s, PYTHONDONTWRITEBYTECODE="1")
        shutil.copy(ROOT / f"recsvc/{self.module}.py", tree.path / f"recsvc/{self.module}.py")
        self._read()

    def _read(self) -> None:
        with use_db(self.session, WorkDB.Mode.open) as session:
            self.outcomes["not tried"] = len(list(session.pending_work_items))
            for item, result in session.completed_work_items:
                if result.worker_outcome == WorkerOutcome.SKIPPED:
                    continue
                survived = result.test_outcome == TestOutcome.SURVIVED
                self.outcomes["survived" if survived else "noticed"] += 1
                if survived:
                    one = item.mutations[0]
                    place = f"recsvc/{self.module}.py:{one.start_pos[0]} {one.definition_name or ''}"
                    changed = [line for line in (result.diff or "").splitlines() if line[:1] in "+-"][2:]
                    self.survivors.append("\n".join([f"{place} {one.operator_name}", *changed]))

    def line(self) -> str:
        tried = self.outcomes["noticed"] + self.outcomes["survived"]
        share = f"{self.outcomes['noticed'] / tried:7.1%}" if tried else "      -"
        left = f"  {self.outcomes['not tried']} not tried" if self.outcomes["not tried"] else ""
        return f"{self.module:26}{tried:6} tried {self.outcomes['survived']:5} survived {share}{left}  {self.problem}"


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("modules", nargs="*", choices=[*MODULES, []], help="all when none is named")
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--share", type=float, default=1.0, help="of the faults that are tried, at random")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**16))
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = arguments.parse_args()
    print(f"seed {given.seed}", flush=True)
    PLACE.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + 60 * given.minutes
    waiting = [Trial(module) for module in reversed(given.modules or MODULES)]
    if not given.modules:  # so that the same are not always left over at the end of the time
        random.Random(given.seed).shuffle(waiting)
    done: list[Trial] = []

    def work(tree: Tree) -> None:
        while waiting and time.monotonic() < end_s:
            trial = waiting.pop()
            trial.run(tree, given.share, given.seed, end_s)
            done.append(trial)
            print(trial.line(), flush=True)

    workers = [threading.Thread(target=work, args=(Tree(number),)) for number in range(given.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for trial in waiting:
        print(f"{trial.module:26} not begun: the time is over")
    report = PLACE / "report.txt"
    lines = [trial.line() for trial in done] + [text for trial in done for text in ("", *trial.survivors)]
    report.write_text(f"seed {given.seed}\n" + "\n".join(lines) + "\n")
    noticed, survived = (sum(trial.outcomes[what] for trial in done) for what in ("noticed", "survived"))
    print(f"{noticed} of {noticed + survived} faults were noticed; what survived stands in {report.relative_to(ROOT)}")
    return 1 if any(trial.problem for trial in done) else 0


if __name__ == "__main__":
    sys.exit(main())

"""A forked program is what it is as a process that Python started: the same ends, and nothing left of the server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from integration_tests.fork_server import CONNECTOR, Forked, run

TELL = """
import json, os, signal, sys, threading
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path[0],
    "environment": {name: value for name, value in os.environ.items() if name != "LC_CTYPE"},
    "folder": os.getcwd(),
    "files": sorted(file for file in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{file}")),
    "threads": [thread.name for thread in threading.enumerate()],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "handled": {number: str(signal.getsignal(number)).partition(" at ")[0] for number in signal.valid_signals()},
    "name": __name__,
    "main": sys.modules["__main__"].__dict__ is globals(),
    "encodings": [sys.stdin.encoding, sys.stdout.encoding, sys.stderr.encoding, sys.stdout.line_buffering],
}, default=str))
"""
AT_THE_END = """
import atexit, sys, threading, time
def late():
    time.sleep(0.2)
    print("thread", flush=False)
atexit.register(lambda: print("atexit"))
threading.Thread(target=late).start()
class Last:
    def __del__(self):
        print("destructor")
last = Last()
print("main")
"""
ENDS = {
    "end": AT_THE_END,
    "exit": f"{AT_THE_END}\nsys.exit(3)",
    "exit with a text": f"{AT_THE_END}\nsys.exit('why')",
    "exception": f"{AT_THE_END}\nraise ValueError('wh\\u00ff')",
    "hook": f"{AT_THE_END}\nsys.excepthook = lambda *what: print('hook', what[0])\nraise ValueError",
    "os._exit": f"{AT_THE_END}\nimport os\nos._exit(7)",
    "abort": "import os; os.abort()",
    "signal": f"{AT_THE_END}\nimport signal\nsignal.raise_signal(signal.SIGTERM)",
    "interrupt": f"{AT_THE_END}\nimport signal\nsignal.raise_signal(signal.SIGINT)",
    "closed stdout": "import os\nprint('lost')\nos.close(1)",
}


def start(words: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, *words]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, env=env, check=False)


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_given_any_end_of_a_program_when_forked_then_it_ends_so(program: str) -> None:
    found, wanted = run(["-c", program]), start(["-c", program])

    assert (found.returncode, found.stdout) == (wanted.returncode, wanted.stdout)
    # Of a traceback, what it says; it begins in the server.
    assert found.stderr.splitlines()[-1:] == wanted.stderr.splitlines()[-1:]


@pytest.mark.parametrize("words", [["-c", TELL], ["tell.py"]], ids=["text", "file"])
def test_when_forked_then_a_program_meets_what_it_meets_when_started(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tell.py").write_text(TELL)
    monkeypatch.chdir(tmp_path)
    env = {"PATH": os.environ["PATH"], "OF_THE_RUN": "größe"}

    found, wanted = (how([*words, "a b", "-c"], env) for how in (run, start))

    assert json.loads(found.stdout) == json.loads(wanted.stdout)


def test_given_a_signal_when_forked_then_the_program_gets_it_and_can_be_waited_for(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        process = Forked(["-c", "import time; print('on', flush=True); time.sleep(60)"], out.fileno(), out.fileno())
    while not (tmp_path / "out").read_text():
        time.sleep(0.01)

    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(signal.SIGSTOP)
    while "(stopped)" not in (Path("/proc") / str(process.pid) / "status").read_text():
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == process.poll() == -signal.SIGTERM
    process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_when_a_command_runs_then_the_server_has_imported_all_that_it_needs() -> None:
    program = (
        "import sys; before = set(sys.modules); import source_commonroom.run as program\n"
        f"assert before >= set({CONNECTOR.modules!r})\n"
        "sys.argv = ['', 'spec']; program.run(); sys.exit(str(set(sys.modules) - before))"
    )

    ended = run(["-c", program])
    assert (ended.returncode, ended.stderr) == (1, b"set()\n")

"""What nobody foresaw is told with its place, and with nothing of what was worked on."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.control.driver import CEILING

PLANTED = "planted-0123456789"
PROGRAM = f"""
import asyncio, gc, json, logging, threading
import uvloop
from headgate.control.log import Log
from headgate.control.unforeseen import in_callbacks, tell_of_the_unforeseen

def fail(_data): raise KeyError("{PLANTED}")
def fail_in_thread(): fail(b"{PLANTED}")
class Gone:
    def __del__(self): fail(None)

async def forgotten(): fail(None)

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(in_callbacks(log))
    loop.call_soon(fail, b"{PLANTED}")
    asyncio.get_running_loop().create_task(forgotten(), name="{PLANTED}")
    await asyncio.sleep(0.01)
    gc.collect()
    await asyncio.sleep(0.01)

log = Log("rig")
tell_of_the_unforeseen(log)
for run in (asyncio.run, uvloop.run):
    run(main())
thread = threading.Thread(target=fail_in_thread, name="{PLANTED}")
thread.start()
thread.join()
Gone()
try:
    fail(None)
except KeyError:
    logging.getLogger("library").exception("it went wrong: %s", "{PLANTED}")
    logging.getLogger("library").error("Exception in callback f({PLANTED})", exc_info=True)
logging.getLogger("library").warning("with %s", "{PLANTED}")
logging.getLogger("library").info("not worth a line")
fail("{PLANTED}")
"""


def test_every_last_resort_tells_where_and_never_what() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=CEILING)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert PLANTED not in ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    said = [line["message"] for line in lines]
    assert said[:4].count("an event loop: Task exception was never retrieved") == 2
    assert sum(each.startswith("an event loop: Exception in callback") for each in said[:4]) == 2
    assert said[4:] == [
        "a thread has failed",
        "an exception where none can be raised",
        "library: it went wrong: %s",
        "library: Exception in callback f",
        "library: with %s",
        "an exception that nobody caught",
    ]
    assert all("KeyError" in line["traceback"] for line in lines if not line["message"].startswith("library: with"))

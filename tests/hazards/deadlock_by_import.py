"""
A wait at import time, for a call that imports the same module, raises soon and names the import.
"""

from _verdict import PATIENCE, check, judge, run_python

PROGRAM = """
import time
import crochet
crochet.setup()
import config

@crochet.wait_for(timeout=15)
def double(number):
    return 2 * number

assert double(21) == 42
"""

CONFIG = f"""
import time
import crochet

@crochet.wait_for(timeout={PATIENCE / 3})
def load():
    import config
    return config.value

began = time.monotonic()
try:
    load()
except Exception as error:
    print(type(error).__name__, f"after {{time.monotonic() - began:.1f}} s;", error)
value = 7
"""


def hazard():
    ended = run_python(PROGRAM, modules={"config": CONFIG})
    check(ended.status == 0, f"status {ended.status}: {ended.err[-300:]}")
    check("'config'" in ended.out and "import" in ended.out, ended.out or "it says nothing")
    return ended.out.partition(";")[0]


judge(hazard)

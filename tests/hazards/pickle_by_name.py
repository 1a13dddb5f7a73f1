"""
Decorated functions of a module are pickled by name, like any function, also to another process.
"""

from _verdict import check, judge, run_python

CLIENT = """
    import crochet

    def set_up():
        crochet.setup()

    @crochet.wait_for(timeout=10)
    def double(number):
        return 2 * number

    @crochet.run_in_reactor
    def double_later(number):
        return 2 * number
"""
PROGRAM = """
    import multiprocessing, pickle
    import client

    if __name__ == "__main__":
        for function in (client.double, client.double_later):
            if pickle.loads(pickle.dumps(function)) is not function:
                raise SystemExit(f"{function} becomes another")
        context = multiprocessing.get_context("spawn")
        with context.Pool(1, client.set_up) as pool:
            print(pool.map(client.double, [1, 2, 3]))
        pool.join()
"""


def hazard():
    ended = run_python(PROGRAM, modules={"client": CLIENT}).check_clean()
    check(ended.out == "[2, 4, 6]\n", f"it says {ended.out!r}")
    return "the same function, and callable in another process"


judge(hazard)

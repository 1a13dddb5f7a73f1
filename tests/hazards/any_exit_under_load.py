"""
A program that ends while 8 daemon threads call at full speed ends cleanly: 3 times.
"""

from _questions import ask, run_program

PROGRAM = """
    call = bridge.blocking(nothing)
    def work():
        try:
            while True:
                call()
        except BaseException:
            pass  # refused: it ends
    for _ in range(8):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(20):
        bridge.call(nothing, 30)
"""


def hazard():
    for _ in range(3):
        run_program(PROGRAM).check_clean()
    return "3 times status 0, stderr empty"


ask(hazard)

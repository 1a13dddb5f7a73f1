"""
What the rest is built of: raw locks and one-step operations, which no signal, thread or garbage
collection can interrupt halfway (primitives), threads with an inbox (worker), and the handing of
answers from one waiting thread to the next (handoff). Knows nothing of calls, and never of Twisted.
"""

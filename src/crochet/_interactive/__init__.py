"""
Notebooks and prompts: `await` at IPython's prompt and in `python -m crochet`, in the reactor
thread.
"""

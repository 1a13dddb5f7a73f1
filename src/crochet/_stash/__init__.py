"""
Results that are kept under a number until they are collected, once, by the process that started the
call (memory) or by any that shares the stash: on this machine (local) or on others (redis). What
the last two share is in shared: there the store is the truth and all messages are hints. Values
travel as bytes made by a serializer, with their state in an answer. A result in its own process is
the very object; elsewhere it is the value, its error, or a named error; never another's, never a
hang. Importing or making a stash opens nothing, and nothing here blocks the reactor thread.
"""

"""The mechanisms of the components, one per file, without clock, queue or randomness of their own.

Each module holds a plain state and functions ``(state, event, now) -> what to send, deliver and log``. An
engine owns time: it carries messages with the links' delays, keeps the timers and draws the random numbers,
which come in as arguments. The same functions can replay events parsed from real logs.
"""

"""The carriers that are measured, one module each.

A module has ``receive(clock, *, size, seed, …)``, which says ``{"port": …}`` once it listens, and
``send(clock, *, port, size, seed, …)``. Both move a warm-up first and then ``size`` bytes under the clock:
the sender's begins when the bytes are handed over, the receiver's ends when the last one is in one buffer
of the application. The receiver compares what came with what was drawn, off the clock. ``echo`` and
``ping``, where they are there, answer and send small messages.
"""

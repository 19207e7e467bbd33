"""Something that runs code when it is unpickled."""

import os
import pickle


class Evil:
    """Leave a folder as a trace of having been run."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def works(trace):
    """Tell whether it would have run, had anybody unpickled it."""
    pickle.loads(pickle.dumps(Evil(trace)))
    ran = trace.exists()
    trace.rmdir()
    return ran

"""Who may learn from a batch."""

from threading import Thread

import torch

from pyro_flows._tracing import graph_later, may_learn


def test_what_one_thread_promises_no_other_hears():
    heard = []
    with graph_later():
        assert may_learn()
        with torch.no_grad():
            thread = Thread(target=lambda: heard.append((torch.set_grad_enabled(False), may_learn())[1]))
            thread.start()
            thread.join()
    with torch.no_grad():
        assert not may_learn()
    assert heard == [False]

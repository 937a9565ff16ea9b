"""Who is looking: eager execution, `torch.compile` or `torch.func`. Imports nothing of ours."""

import torch


def is_functorch() -> bool:
    """Whether a `torch.func` transform (vmap, grad, …) is running, and Dynamo is not tracing."""
    # Under Dynamo functorch's interpreter stack looks occupied too: ask for compiling first.
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_traced() -> bool:
    """Whether `torch.compile` or `torch.func` is looking: tensors are stand-ins for values then."""
    return torch.compiler.is_compiling() or is_functorch()

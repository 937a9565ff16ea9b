"""What a continuous flow is solved with: integrators, and ways to the trace of a Jacobian."""

from .adaptive import Adaptive
from .checkpointed import Checkpointed
from .runge_kutta import RungeKutta
from .solver import Derivative, Solver
from .trace import Exact, Hutchinson, Trace

__all__ = [
    "Adaptive",
    "Checkpointed",
    "Derivative",
    "Exact",
    "Hutchinson",
    "RungeKutta",
    "Solver",
    "Trace",
]

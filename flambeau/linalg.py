"""Linear algebra: ``flambeau.linalg``."""

# isort: off
from flambeau.core.blame import explain_imported as _explain_imported
from flambeau.backends.base import LinAlgError
from flambeau.core import methods
from flambeau.core.ops.checked import cholesky_ex, inv_ex, lu_factor_ex, solve_ex
from flambeau.core.ops.decompose import cholesky
from flambeau.core.ops.decompose import det_p as det
from flambeau.core.ops.decompose import svdvals_p as svdvals
from flambeau.core.ops.einsum import tensordot
from flambeau.core.ops.ldl import ldl_factor, ldl_factor_ex, ldl_solve
from flambeau.core.ops.linalg import (
    cond, diagonal, eig, eigh, eigvals, eigvalsh, matrix_norm, matrix_rank, norm, qr, slogdet, svd, vecdot, vector_norm,
)  # fmt: skip
from flambeau.core.ops.matmul import matmul, outer
from flambeau.core.ops.products import linalg_cross as cross
from flambeau.core.ops.products import linalg_vander as vander
from flambeau.core.ops.products import matrix_power, multi_dot, trace
from flambeau.core.ops.reflections import householder_product
from flambeau.core.ops.shape import matrix_transpose
from flambeau.core.ops.solve import (
    lstsq,
    lu,
    lu_factor,
    lu_solve,
    pinv,
    solve,
    solve_triangular,
    tensorinv,
    tensorsolve,
)
from flambeau.core.ops.solve import matrix_exp_p as matrix_exp
from flambeau.core.ops.systems import inv_p as inv

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular",
    "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vander", "vecdot", "vector_norm",
]  # fmt: skip

for _name in (
    "cholesky", "cholesky_ex", "cond", "cross", "eig", "eigh", "eigvals", "eigvalsh", "householder_product", "inv_ex",
    "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve",
    "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve", "solve_ex",
    "solve_triangular", "svd", "tensorinv", "tensorsolve", "vecdot",
):  # fmt: skip
    globals()[_name] = methods.taking_out(_name, globals()[_name])
_explain_imported(globals())
inv, vander = methods.named("inv", inv), methods.named("vander", vander)
methods.give_homes(__name__, {name: globals()[name] for name in __all__})

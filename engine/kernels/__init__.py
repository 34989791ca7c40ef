"""All numba code: arrays and scalars in, `out` filled; no checks, no pandas."""

# Nothing for Python: the compiled modules write frames with it. `codec` is its face.

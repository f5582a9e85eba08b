# Nothing for Python: the compiled modules read frames with it. `codec` is its face.

"""Set-up that every test shares."""

from __future__ import annotations

import os

# Keras is the reference that networks are compared with; it reads the variable when it is first imported.
os.environ.setdefault("KERAS_BACKEND", "torch")

"""Properties are held to what they say, not to how long that takes: a busy machine is no fault of the code."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

# In CI its own profile is the parent, which draws the same examples each time.
settings.register_profile("headgate", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headgate")

# Gateways that tests start would make a token in the home of whoever runs them otherwise.
os.environ["HEADGATE_ADMIN_TOKEN"] = "the admin token of all tests"
os.environ.pop("HEADGATE_ADMIN", None)

# Nor have the tests any business with the keys, the pepper and the registrations that are there.
_STATE = tempfile.mkdtemp(prefix="headgate-tests-")
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)
os.environ["HEADGATE_STATE_DIR"] = _STATE

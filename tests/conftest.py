"""What every test shares."""

from hypothesis import HealthCheck, settings

# Machines that run this are noisy: a slow draw says nothing about the code.
settings.register_profile(
    "turnout", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("turnout")

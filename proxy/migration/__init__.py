"""Other gateways' configurations, made into Turnout's."""

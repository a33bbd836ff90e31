"""The fit: target, objective, search, acceptance. It takes a Chain and never names an effect."""

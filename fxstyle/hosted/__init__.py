"""Plugins of other makers in a chain: VST3 through pedalboard, in a process of their own."""

"""Measures of clips: likeness and distance, trackers, physics, fidelity to prompts; and damage to test them with."""

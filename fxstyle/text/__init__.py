"""What a producer's words ask for: a lexicon of sounds, and the reading of a wish by it."""

"""What can be measured of a recording."""

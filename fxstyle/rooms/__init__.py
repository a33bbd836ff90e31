"""Rooms: what a response measures like, what a recording says of its room, what rooms are made of."""

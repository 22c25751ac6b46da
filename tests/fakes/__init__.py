"""Strict stand-ins for Google's services: real servers on loopback."""

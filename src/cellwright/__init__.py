"""Cellwright."""

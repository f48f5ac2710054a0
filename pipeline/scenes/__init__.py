"""Anything a user has, opened as pixels on one grid."""

"""Printed documents as they are kept: the bytes that whoever asks gets, and what could not be printed yet."""

"""Adapters to other people's libraries. Nothing outside this folder imports it, and each part is there only for who asks for it."""

"""The one patcher: clients, frameworks and configured targets put their wrappers in place with it."""

"""What runs the snippets of the documentation; CONTRIBUTING.md describes how to write them."""

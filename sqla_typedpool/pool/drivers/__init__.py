"""What differs from driver to driver, one module each; ``registry`` finds a dialect's."""

"""Steps: declared, entered, billed, left."""

"""Language models behind one protocol, and how they are loaded."""

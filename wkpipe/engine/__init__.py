"""The engine: cut units into cubes, which workers compute side by side, in bounded memory and a fixed order."""

"""Small files in the exact schema of real data sets, written on the spot."""

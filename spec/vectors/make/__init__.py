"""How the vectors are made: cases from the chapters, answers computed by the second implementation."""

"""What statements write, judged by hand or made at random, and executed."""

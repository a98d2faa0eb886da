"""What runs show: tables beside published results, statistics, plots."""

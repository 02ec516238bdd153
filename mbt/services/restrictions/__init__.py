"""What limits an account beyond its money: unsettled cash, day trades."""

"""What happens to accounts without an order. When each is due: `schedule`."""

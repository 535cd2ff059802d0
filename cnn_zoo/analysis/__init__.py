"""What a network costs, counted rather than measured."""

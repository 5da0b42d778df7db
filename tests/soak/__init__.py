"""A long run of the agent under everything that goes wrong, to see that its memory is flat: `make soak`."""

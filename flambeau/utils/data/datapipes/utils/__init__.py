"""What pipes of data share."""

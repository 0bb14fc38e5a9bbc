"""What does one take away? A genome as a source file."""

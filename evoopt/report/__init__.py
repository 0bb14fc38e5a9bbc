"""What does one see?"""

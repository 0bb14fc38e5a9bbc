"""How do generations follow each other?"""

"""How is a population trained and scored?"""

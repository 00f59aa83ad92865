"""The API as it was before v1, for the commands and examples of its first two years.

Objects are stored in today's form alone; these modules turn them into what was said then, and back.
"""

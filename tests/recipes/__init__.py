"""Recipes, each as its system would use it."""
